/** The alternate screen of a terminal, and the keys that end it: xterm's control sequences, console_codes(4). */

const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_TO_END_OF_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

const CTRL_C = "\x03";

export interface ScreenOptions {
  /** At most `height` lines of at most `width` characters. */
  readonly render: (width: number, height: number) => readonly string[];
  /** q or Ctrl-C. */
  readonly quit: () => void;
}

/** The terminal is as before once it is closed, or the process exits. */
export class Screen {
  private readonly options: ScreenOptions;
  private readonly terminal = process.stdout;
  private readonly keys = process.stdin.isTTY === true ? process.stdin : undefined;
  private isOpen = true;

  constructor(options: ScreenOptions) {
    this.options = options;
    this.terminal.write(ENTER);
    this.terminal.on("resize", this.draw);
    this.keys?.setRawMode(true).on("data", this.onKeys).resume();
    process.once("exit", this.close);
  }

  readonly draw = (): void => {
    // A terminal that is stopped (Ctrl-S) gets the newest picture when it goes on, not all of them.
    if (!this.isOpen || this.terminal.writableNeedDrain) return;
    const { columns = 80, rows = 24 } = this.terminal;
    const lines = this.options.render(columns || 80, rows || 24).map((line) => line + CLEAR_TO_END_OF_LINE);
    this.terminal.write(`${HOME}${lines.join("\r\n")}${CLEAR_BELOW}`);
  };

  readonly close = (): void => {
    if (!this.isOpen) return;
    this.isOpen = false;
    process.off("exit", this.close);
    this.terminal.off("resize", this.draw);
    this.keys?.off("data", this.onKeys).pause().setRawMode(false);
    this.terminal.write(LEAVE);
  };

  private readonly onKeys = (data: Buffer): void => {
    const text = data.toString("latin1");
    if (text === "q" || text === "Q" || text.includes(CTRL_C)) this.options.quit();
  };
}
