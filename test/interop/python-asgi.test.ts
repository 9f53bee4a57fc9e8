/** uvicorn, with the receiver of examples/python. */
import { pythonTrials } from "./support/python-trials.js";

pythonTrials("https_asgi.py");
