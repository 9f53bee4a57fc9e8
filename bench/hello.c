#include "common.h"

#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "hello.h"

static size_t read_file(const char *path, uint8_t *bytes, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_errno("open %s", path);
    size_t length = 0;
    for (ssize_t more; (more = read(fd, bytes + length, room - length)) != 0; length += (size_t)more)
        if (more < 0)
            fail_errno("read %s", path);
    close(fd);
    return length;
}

void hello_load(struct hello *hello, const char *path, uint64_t names)
{
    hello->length = read_file(path, hello->bytes, sizeof hello->bytes);
    if (hello->length < 5 || hello->bytes[0] != 22)
        fail("%s is no TLS handshake record", path);
    if (hello->length == sizeof hello->bytes)
        fail("%s is longer than %d bytes", path, LONGEST_HELLO - 1);

    /* A run of 4, so that chance does not find one among the random bytes. */
    hello->digits_at = hello->digits = 0;
    for (size_t i = 0, run = 0; i < hello->length; i++) {
        run = hello->bytes[i] == '#' ? run + 1 : 0;
        if (run >= 4 && run > hello->digits) {
            hello->digits = run;
            hello->digits_at = i + 1 - run;
        }
    }
    uint64_t different = 1;
    for (size_t i = 0; i < hello->digits && different < names; i++)
        different *= 10;
    if (different < names)
        fail("%s has room for %" PRIu64 " names, not for %" PRIu64, path, different, names);
    hello_set_name(hello, 0);
}
