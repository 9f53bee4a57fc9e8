/*
 * Runs a program that must not outlive the benchmark: "tether PROGRAM ARGUMENT…" is that program, with the same process
 * id, but the kernel kills it when whoever started it ends. (The setting outlasts execve, prctl(2).)
 */
#include "common.h"

#include <signal.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count < 2)
        print_usage("usage: tether PROGRAM [ARGUMENT …]\n", 0);
    end_with_parent(SIGKILL);
    execvp(arguments[1], arguments + 1);
    fail_errno("%s", arguments[1]);
}
