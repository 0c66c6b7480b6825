// The energies of chains over time, in a bounded number of points: a curve that has grown too long
// keeps every other one.

const LONGEST = 1000;

export function make() {
  let every = 1;
  return {
    steps: [],
    rows: [], // one of energies for each chain
    add(step, energies) {
      if (step % every) return;
      this.steps.push(step);
      energies.forEach((energy, row) => (this.rows[row] ??= []).push(energy));
      if (this.steps.length <= LONGEST) return;
      every *= 2;
      const kept = this.steps.map((each) => each % every === 0);
      this.steps = this.steps.filter((_, i) => kept[i]);
      this.rows = this.rows.map((row) => row.filter((_, i) => kept[i]));
    },
  };
}
