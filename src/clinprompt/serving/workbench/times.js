// Say how long something takes.

/** Return seconds in words. */
export function howLong(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 90) return whole === 1 ? "1 second" : `${whole} seconds`;
  const minutes = Math.round(whole / 60);
  return `${minutes} minutes`;
}
