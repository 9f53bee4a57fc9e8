// node server.mjs SOCKET CERTIFICATE KEY
import "reflect-metadata";
import { readFileSync } from "node:fs";
import { Bind, Controller, Get, Header, Module, Req } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { attach, drainOnSignal } from "sni-handoff/backend";

// In TypeScript: @Controller() class Hello { @Get("{*any}") @Header(…) hello(@Req() request) { … } }
class Hello {
  hello({ socket }) {
    return `hello from nest: ${socket.remoteAddress}:${socket.remotePort}\n`;
  }
}
class Application {}
const method = [Hello.prototype, "hello", Object.getOwnPropertyDescriptor(Hello.prototype, "hello")];
for (const decorate of [Get("{*any}"), Header("content-type", "text/plain"), Bind(Req())]) decorate(...method);
Controller()(Hello);
Module({ controllers: [Hello] })(Application);

const [path, cert, key] = process.argv.slice(2);
const httpsOptions = { cert: readFileSync(cert), key: readFileSync(key) };
const app = await NestFactory.create(Application, { httpsOptions, logger: ["warn", "error"] });

// Instead of app.listen(443).
await app.init();
const receiver = await attach(app.getHttpServer(), { path });
// What app.close() calls are the hooks of OnModuleDestroy and OnApplicationShutdown.
drainOnSignal(receiver, { onDrained: () => app.close() });
console.log(`listening on ${receiver.path}`);
