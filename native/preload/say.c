#include "say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void say(const char *format, ...) {
  char line[1024] = "sni-handoff: ";
  size_t head = sizeof "sni-handoff: " - 1;
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(line + head, sizeof line - head - 1, format, arguments);
  va_end(arguments);
  size_t length = size < 0 ? head : head + (size_t)size;
  if (length > sizeof line - 2) length = sizeof line - 2;
  line[length] = '\n';
  /* In one write, and not through stdio, whose buffers are the program's. */
  if (write(STDERR_FILENO, line, length + 1) == -1) errno = error;
  errno = error;
}
