/**
 * The time of the wall clock, kept honest by the steady one.
 *
 * Neither clock of a browser is enough. `performance.now` never lies but
 * stands still while some machines sleep; `Date.now` goes on but jumps when
 * somebody sets it. So the wall clock may run ahead of the steady one, which
 * is a sleep or somebody setting it, and leaves a doubt; but it may not fall
 * behind. Who would end a session because of doubtful time asks the authority
 * first.
 */
export function createClock(steady: { now(): number }) {
  let base = Date.now() - steady.now();
  let offset = 0;
  /** What only the wall clock vouches for. */
  const ahead = () => Date.now() + offset - steady.now() - base;
  return {
    now() {
      offset += Math.max(0, -ahead());
      return Date.now() + offset;
    },
    /** Less is rounding and NTP. */
    doubt: () => ahead() > 2000,
    /** There is no doubt any more; answers how much there was. */
    settle() {
      const doubt = Math.max(0, ahead());
      base += doubt;
      return doubt;
    },
    /** Since `at` another page has been here, and its steady clock is gone. */
    since(at: number) {
      base = at - steady.now();
    },
  };
}
