/** A section's code in the guide, see snippet.ts. */
declare module 'guide:*';
