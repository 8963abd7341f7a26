#include "ipc_api/listener.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>

namespace sluice::ipc_api {
namespace {

constexpr int kBacklog = 128;

Result<OwnedFd> take_lock(const std::string& path) {
    const std::string lock_path = path + ".lock";
    for (;;) {
        OwnedFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!lock.valid())
            return fail(errno, "cannot make {} for socket {}: {}", lock_path, path,
                        std::strerror(errno));
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
            if (errno == EWOULDBLOCK)
                return fail(EADDRINUSE, "socket {} is in use by another running instance", path);
            return fail(errno, "cannot lock {}: {}", lock_path, std::strerror(errno));
        }
        // The owner before us unlinks the file while it holds it: then nobody else will find ours.
        struct stat held = {};
        struct stat named = {};
        if (::fstat(lock.get(), &held) == 0 && ::stat(lock_path.c_str(), &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return lock;
    }
}

Result<> remove_stale(const std::string& path) {
    struct stat status = {};
    if (::lstat(path.c_str(), &status) < 0) {
        if (errno == ENOENT) return {};
        return fail(errno, "cannot look at socket {}: {}", path, std::strerror(errno));
    }
    if (!S_ISSOCK(status.st_mode))
        return fail(EEXIST, "{} exists and is not a socket; remove it or choose another path",
                    path);
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
    return fail(errno, "cannot remove stale socket {}: {}", path, std::strerror(errno));
}

// Applications of other users must be able to enter it; the socket's own mode keeps them out.
void make_folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash != std::string::npos && slash != 0) ::mkdir(path.substr(0, slash).c_str(), 0755);
}

Result<> give_to(const SocketFile& file) {
    constexpr uid_t kSame = static_cast<uid_t>(-1);
    if ((file.owner || file.group) &&
        ::lchown(file.path.c_str(), file.owner.value_or(kSame),
                 file.group.value_or(static_cast<gid_t>(kSame))) < 0)
        return fail(errno, "cannot give socket {} to its owner and group: {}", file.path,
                    std::strerror(errno));
    if (::chmod(file.path.c_str(), file.mode) < 0)
        return fail(errno, "cannot set the mode of socket {}: {}", file.path,
                    std::strerror(errno));
    return {};
}

}  // namespace

Result<Listener> Listener::open(const SocketFile& file) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (file.path.empty()) return fail(EINVAL, "the path of the applications' socket is empty");
    if (file.path.size() >= sizeof address.sun_path)
        return fail(ENAMETOOLONG, "socket path '{}' has {} bytes; at most {} are possible",
                    file.path, file.path.size(), sizeof address.sun_path - 1);
    std::memcpy(address.sun_path, file.path.data(), file.path.size());
    make_folder_of(file.path);
    SLUICE_TRY(OwnedFd lock, take_lock(file.path));
    // The lock goes with this if anything fails below.
    Listener result(file.path, std::move(lock));
    SLUICE_TRY_VOID(remove_stale(file.path));
    OwnedFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail(errno, "cannot make a socket: {}", std::strerror(errno));
    // Linux gives the file the mode of the socket: nobody else gets in before owner and mode are
    // what they should be.
    ::fchmod(socket.get(), 0600);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail(errno, "cannot bind socket {}: {}", file.path, std::strerror(errno));
    result.socket_ = std::move(socket);
    SLUICE_TRY_VOID(give_to(file));
    if (::listen(result.fd(), kBacklog) < 0)
        return fail(errno, "cannot listen on socket {}: {}", file.path, std::strerror(errno));
    return result;
}

Listener::~Listener() {
    if (!lock_.valid()) return;  // moved from
    if (socket_.valid()) ::unlink(path_.c_str());
    ::unlink((path_ + ".lock").c_str());
}

}  // namespace sluice::ipc_api
