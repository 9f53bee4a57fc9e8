#ifndef SNI_HANDOFF_PRELOAD_SAY_H
#define SNI_HANDOFF_PRELOAD_SAY_H

/* One line on standard error, "sni-handoff: …". Keeps errno. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

#endif
