/** Returns what writes to the console; undefined unless it is turned on. */
export function makeDebugLog(isOn = false): ((what: object) => void) | undefined {
  if (!isOn) return undefined;
  return (what) => {
    console.debug('neverstale:', what);
  };
}
