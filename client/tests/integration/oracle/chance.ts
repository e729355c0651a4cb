/** Random choices. */
export class Chance {
  constructor(readonly random: () => number) {}

  is(probability: number): boolean {
    return this.random() < probability;
  }

  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new Error('nothing to pick from');
    return from[Math.floor(this.random() * from.length)] as T;
  }

  pickWeighted<T>(choices: readonly (readonly [weight: number, T])[]): T {
    let at = this.random() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, choice] of choices) {
      at -= weight;
      if (at < 0) return choice;
    }
    throw new Error('no choice');
  }
}
