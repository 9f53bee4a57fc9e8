/** What the demonstration shows: ticks and colours on a terminal, plain lines elsewhere. */
import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

export interface Screen {
  heading(text: string): void;
  /** Something that was tried and seen. */
  proof(title: string, seen: string): void;
  failure(title: string, why: string): void;
  /** A line as it is, for pasting. */
  line(text: string): void;
}

export function createScreen(): Screen {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const paint = (style: Style, text: string) =>
    isTerminal && stdout.hasColors() ? styleText(style, text, { validateStream: false }) : text;
  const write = (text: string) => stdout.write(`${text}\n`);
  const [good, bad] = isTerminal ? ["✓", "✗"] : ["ok  ", "FAIL"];
  const indent = " ".repeat(good!.length + 1);
  return {
    heading: (text) => write(`\n${paint("bold", text)}`),
    proof: (title, seen) => write(`${paint("green", good!)} ${title}\n${indent}${paint("dim", seen)}`),
    failure: (title, why) => write(`${paint("red", bad!)} ${title}\n${indent}${why}`),
    line: write,
  };
}
