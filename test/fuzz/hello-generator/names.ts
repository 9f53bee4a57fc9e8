/** Server names, as clients send them and as they should not. */
import { integer, percent, pick, type Random } from "../random.js";

const LETTERS = [..."abcdefghijklmnopqrstuvwxyz0123456789"];
const TOPS = ["com", "org", "test", "Example", "xn--p1ai", "local", "x1"];

function label(random: Random): string {
  if (percent(random, 10)) return pick(random, ["www", "api", "_acme-challenge", "xn--mnchen-3ya", "a", "WWW", "a-b"]);
  const made = Array.from({ length: integer(random, 1, 12) }, () => pick(random, LETTERS)).join("");
  return percent(random, 20) ? made.toUpperCase() : made;
}

/** A name that is right, and no address: its last label has a letter. Now and then with the trailing dot. */
export function validName(random: Random): string {
  const labels = Array.from({ length: integer(random, 0, 4) }, () => label(random));
  const dot = percent(random, 5) ? "." : "";
  return `${[...labels, pick(random, TOPS)].join(".")}${dot}`;
}

const ADDRESSES = [
  "192.0.2.1",
  "127.0.0.1.",
  "010.0.0.1",
  "256.1.1.1",
  "1.2.3",
  "1.2.3.4.5",
  "0x7f.0.0.1",
  "4294967295",
  "::1",
  "[::1]",
  "2001:db8::192.0.2.1",
  "fe80::1%lo",
  "1::2::3",
  "[",
];

export function addressLike(random: Random): string {
  return pick(random, ADDRESSES);
}

/** Dots where none belong. */
export function wrongDots(random: Random): string {
  const name = validName(random);
  return pick(random, [`.${name}`, `${name}..`, name.replace(/(\.|$)/, ".."), ".", "..", "a."]);
}

/** At the limits: 63 bytes a label, 255 a name. */
export function longName(random: Random): string {
  const ofLabel = (length: number) => "l".repeat(length);
  const ofName = (length: number) => `${"a.".repeat(200).slice(0, length - 1)}b`;
  return pick(random, [
    `${ofLabel(63)}.test`,
    `${ofLabel(64)}.test`,
    `${ofLabel(63)}.`.repeat(4).slice(0, 255),
    ofName(253),
    ofName(255),
    ofName(256),
    ofName(257),
    ofName(integer(random, 240, 400)),
    ofLabel(1000),
  ]);
}
