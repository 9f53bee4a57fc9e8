#ifndef SNI_HANDOFF_PRELOAD_CLOSING_H
#define SNI_HANDOFF_PRELOAD_CLOSING_H

/* Closes the descriptors from `first` to `last`, those of them that are open. */
void close_all(int first, int last);

#endif
