export interface SignOutChannel {
  readonly post: () => void;
  readonly close: () => void;
}

/**
 * Open a channel by which the tabs of a user learn of a sign-out: a tab that continued to save
 * would store the cache again. It does nothing where the browser has or allows no such channel.
 */
export function openSignOutChannel(name: string, onSignOut: () => void): SignOutChannel {
  let channel: BroadcastChannel | undefined;
  try {
    channel = new BroadcastChannel(`neverstale sign-out ${name}`);
    channel.onmessage = onSignOut;
  } catch {
    // Without BroadcastChannel, or where storage is blocked, tabs share no storage worth clearing.
  }
  return {
    post() {
      channel?.postMessage(undefined);
    },
    close() {
      channel?.close();
    },
  };
}
