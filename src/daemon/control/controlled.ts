export interface Answer {
  readonly ok: boolean;
  readonly message: string;
  readonly details?: readonly string[];
}
