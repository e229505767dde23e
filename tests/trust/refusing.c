/* A file system that can do little, for what lies below $REFUSE_UNDER: no hard links, no locks, no folder that can be
   synced, no room reserved ahead, no advice on memory maps. Loaded into every process by LD_PRELOAD. Each refusal adds
   a line to the file that $REFUSED names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int below(const char *path) {
    const char *root = getenv("REFUSE_UNDER");
    return root != NULL && strncmp(path, root, strlen(root)) == 0;
}

static int refused(const char *path, const char *call) {
    char full[PATH_MAX];
    if (realpath(path, full) == NULL) {
        if (path[0] == '/' || getcwd(full, sizeof full) == NULL)
            snprintf(full, sizeof full, "%s", path);
    }
    if (!below(full))
        return 0;
    const char *name = getenv("REFUSED");
    FILE *log = name != NULL ? fopen(name, "a") : NULL;
    if (log != NULL) {
        fprintf(log, "%s\n", call);
        fclose(log);
    }
    return 1;
}

static int refused_file(int file, const char *call) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return refused(path, call);
}

int link(const char *from, const char *to) {
    if (refused(from, "link")) {
        errno = EPERM;
        return -1;
    }
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link"))(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    if (refused(from, "link")) {
        errno = EPERM;
        return -1;
    }
    return ((int (*)(int, const char *, int, const char *, int))dlsym(RTLD_NEXT, "linkat"))(from_folder, from, to_folder,
                                                                                            to, flags);
}

int flock(int file, int how) {
    if (refused_file(file, "flock")) {
        errno = ENOLCK;
        return -1;
    }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, how);
}

int fsync(int file) {
    struct stat look;
    if (fstat(file, &look) == 0 && S_ISDIR(look.st_mode) && refused_file(file, "fsync")) {
        errno = EINVAL;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int posix_fallocate(int file, off_t start, off_t length) {
    if (refused_file(file, "posix_fallocate"))
        return EOPNOTSUPP;
    return ((int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate"))(file, start, length);
}
