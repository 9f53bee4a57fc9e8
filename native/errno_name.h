#ifndef SNI_HANDOFF_ERRNO_NAME_H
#define SNI_HANDOFF_ERRNO_NAME_H

/* Room for "E" and any int. */
#define ERRNO_NAME_SPACE 16

/* The name of an errno ("EAGAIN"; errno(3)), or "E<number>" written to `space` if it has none here. */
const char *errno_name(int error, char space[ERRNO_NAME_SPACE]);

#endif
