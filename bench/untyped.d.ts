/** Programs of node-library.mjs that bring no types. */
declare module "express";
declare module "koa";
