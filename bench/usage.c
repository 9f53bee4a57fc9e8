#include "common.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "usage.h"

static uint64_t thread_sleeps(int pid, const char *thread)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    uint64_t sleeps = 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "voluntary_ctxt_switches: %" SCNu64, &sleeps) != 1)
        continue;
    fclose(file);
    return sleeps;
}

uint64_t usage_sleeps(int pid)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return 0;
    uint64_t sleeps = 0;
    for (const struct dirent *thread; (thread = readdir(threads)) != NULL;)
        if (thread->d_name[0] != '.')
            sleeps += thread_sleeps(pid, thread->d_name);
    closedir(threads);
    return sleeps;
}

double usage_machine_seconds(void)
{
    /* The first line (proc(5)), in hundredths of a second. */
    unsigned long long user, nice, system, idle, iowait, irq, softirq, steal;
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    int found = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &iowait, &irq,
                       &softirq, &steal);
    fclose(file);
    return found == 8 ? (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK) : 0;
}
