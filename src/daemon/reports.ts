/** What worker threads report, and who waits for it. */

export type ReportOf<Report extends { readonly type: string }, Type extends Report["type"]> = Extract<
  Report,
  { type: Type }
>;

export class Reports<Report extends { readonly type: string }> {
  private readonly waiting: Set<(report: Report, worker: number) => void> = new Set();

  /** The worker with this index has reported. */
  add(report: Report, worker: number): void {
    for (const take of this.waiting) take(report, worker);
  }

  /** Resolves when `count` workers have made a report of this type that `matches` accepts. */
  all<Type extends Report["type"]>(
    type: Type,
    count: number,
    matches: (report: ReportOf<Report, Type>) => boolean = () => true,
  ): Promise<ReportOf<Report, Type>[]> {
    return new Promise((resolve) => {
      const got = new Map<number, ReportOf<Report, Type>>();
      const take = (report: Report, worker: number) => {
        if (report.type !== type || !matches(report as ReportOf<Report, Type>)) return;
        got.set(worker, report as ReportOf<Report, Type>);
        if (got.size < count) return;
        this.waiting.delete(take);
        resolve([...got.values()]);
      };
      this.waiting.add(take);
    });
  }
}
