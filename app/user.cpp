#include "app/user.hpp"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sluice::app {

Result<> check_user(const std::string& name) {
    const passwd* const user = getpwnam(name.c_str());
    if (user == nullptr) return fail(ENOENT, "--user {}: there is no such user", name);
    if (geteuid() != 0 && geteuid() != user->pw_uid)
        return fail(EPERM, "--user {}: expected to be started as root", name);
    return {};
}

Result<> become_user(const std::string& name) {
    errno = 0;
    const passwd* const user = getpwnam(name.c_str());
    if (user == nullptr)
        return fail(ENOENT, "--user {}: there is no such user", name);
    const uid_t uid = user->pw_uid;
    const gid_t gid = user->pw_gid;
    if (geteuid() == uid) return {};
    // glibc does each of these in all threads.
    if (initgroups(name.c_str(), gid) != 0 || setgid(gid) != 0 || setuid(uid) != 0)
        return fail(errno, "--user {}: cannot become that user: {}; expected to be started as root",
                    name, std::strerror(errno));
    if (uid != 0 && setuid(0) == 0)
        return fail(EPERM, "--user {}: root could be had again; this is a bug", name);
    return {};
}

}  // namespace sluice::app
