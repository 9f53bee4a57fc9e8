/** hosts(5): names that are not asked of any server. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";

/** The addresses of a name, in the order of the file; empty if it has none, or there is no such file. */
export function addressesInHosts(host: string, file = "/etc/hosts"): string[] {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  return parseHosts(text, host);
}

export function parseHosts(text: string, host: string): string[] {
  const addresses = text.split("\n").flatMap((line) => {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    return isIP(address) !== 0 && names.some((name) => name.toLowerCase() === host) ? [address] : [];
  });
  return [...new Set(addresses)];
}
