/** Returns what writes to the console, without tokens; undefined unless it is turned on. */
export function makeDebugLog(isOn = false): ((what: object) => void) | undefined {
  if (!isOn) return undefined;
  return (what) => {
    console.debug(
      'neverstale:',
      JSON.stringify(what, (key, value: unknown) => (key === 'token' && value ? '...' : value)),
    );
  };
}
