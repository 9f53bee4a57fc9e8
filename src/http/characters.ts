/** Which bytes may stand where in a request head. */

/** tchar: what tokens are made of (RFC 9110 §5.6.2). */
export const TOKEN = 1;
/** VCHAR and obs-text: a request-target. RFC 3986 allows fewer, but clients send others too, and none of them parts anything. */
export const TARGET = 2;
/** VCHAR, obs-text, SP and HTAB: a field's value (RFC 9110 §5.5). */
export const VALUE = 4;
export const DIGIT = 8;

/** For each byte the classes that it belongs to. */
export const CLASSES: Uint8Array = new Uint8Array(256);

for (let byte = 0x21; byte < 0x100; byte++) if (byte !== 0x7f) CLASSES[byte] = TARGET | VALUE;
for (const byte of Buffer.from(" \t")) CLASSES[byte]! |= VALUE;
for (const byte of Buffer.from("!#$%&'*+-.^_`|~")) CLASSES[byte]! |= TOKEN;
for (let byte = 0x30; byte <= 0x39; byte++) CLASSES[byte]! |= TOKEN | DIGIT;
for (let letter = 0x41; letter <= 0x5a; letter++) {
  CLASSES[letter]! |= TOKEN;
  CLASSES[letter + 0x20]! |= TOKEN;
}
