// pm2 start ecosystem.config.cjs; pm2 reload app: one process after the other, and no request fails
module.exports = {
  apps: [
    {
      name: "app",
      script: "server.mjs",
      args: "/run/app cert.pem key.pem",
      exec_mode: "fork",
      instances: 4,
      wait_ready: true,
      kill_timeout: 35_000, // more than drainOnSignal's deadline
    },
  ],
};
