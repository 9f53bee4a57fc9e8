/** GET of what the daemon tells: over its control socket, or a port. */
import { type RequestOptions, request } from "node:http";

/** The whole body. */
export function textOf(options: RequestOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(options, async (response) => {
      try {
        response.setEncoding("utf8");
        let text = "";
        for await (const part of response) text += part;
        resolve(text);
      } catch (error) {
        reject(error);
      }
    });
    asked.on("error", reject);
    asked.end();
  });
}
