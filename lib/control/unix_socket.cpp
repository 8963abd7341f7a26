#include "control/unix_socket.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace sluice::control {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty()) return fail(EINVAL, "the socket path is empty");
    if (path.size() >= sizeof address.sun_path)
        return fail(ENAMETOOLONG, "socket path '{}' has {} bytes; at most {} are possible", path,
                    path.size(), sizeof address.sun_path - 1);
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

tl::unexpected<Error> in_use(const std::string& path) {
    return fail(EADDRINUSE, "socket {} is in use by another running instance", path);
}

Result<> make_directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos || slash == 0) return {};
    const std::string folder = path.substr(0, slash);
    if (::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
    return fail(errno, "cannot make directory {} for socket {}: {}", folder, path,
                std::strerror(errno));
}

Result<OwnedFd> take_lock(const std::string& path) {
    const std::string lock_path = path + ".lock";
    for (;;) {
        OwnedFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!lock.valid())
            return fail(errno, "cannot make {} for socket {}: {}", lock_path, path,
                        std::strerror(errno));
        if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
            if (errno == EWOULDBLOCK) return in_use(path);
            return fail(errno, "cannot lock {}: {}", lock_path, std::strerror(errno));
        }
        // The owner before us unlinks the file while holding it; if that happened between our
        // open and our flock, we hold a file that nobody else will find.
        struct stat held {};
        struct stat named {};
        if (::fstat(lock.get(), &held) == 0 && ::stat(lock_path.c_str(), &named) == 0 &&
            held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return lock;
    }
}

// Under the lock, so whoever listens here is not one of us, or had its lock file deleted.
Result<> remove_stale(const std::string& path, const sockaddr_un& address) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) < 0) {
        if (errno == ENOENT) return {};
        return fail(errno, "cannot look at socket {}: {}", path, std::strerror(errno));
    }
    if (!S_ISSOCK(status.st_mode))
        return fail(EEXIST, "{} exists and is not a socket; remove it or choose another path",
                    path);
    OwnedFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe.valid()) return fail(errno, "cannot make a socket: {}", std::strerror(errno));
    const int connected =
        ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    // EAGAIN: somebody listens and the queue is full.
    if (connected == 0 || errno == EAGAIN) return in_use(path);
    if (errno != ECONNREFUSED && errno != ENOENT)
        return fail(errno, "cannot tell who uses socket {}: {}", path, std::strerror(errno));
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return fail(errno, "cannot remove stale socket {}: {}", path, std::strerror(errno));
    return {};
}

}  // namespace

OwnedFd::~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
}

Result<ListeningSocket> ListeningSocket::open(const std::string& path) {
    SLUICE_TRY(const sockaddr_un address, address_of(path));
    SLUICE_TRY_VOID(make_directory_of(path));
    SLUICE_TRY(OwnedFd lock, take_lock(path));
    // The lock goes with this if anything fails below.
    ListeningSocket result(path, std::move(lock), OwnedFd());
    SLUICE_TRY_VOID(remove_stale(path, address));
    OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail(errno, "cannot make a socket: {}", std::strerror(errno));
    // Linux gives the file the mode of the unbound socket, so it never exists with another one;
    // the umask, which belongs to the whole process, stays alone. chmod is for kernels that do not.
    ::fchmod(socket.get(), 0600);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return fail(errno, "cannot bind socket {}: {}", path, std::strerror(errno));
    result.socket_ = std::move(socket);
    if (::chmod(path.c_str(), 0600) < 0 || ::listen(result.fd(), 16) < 0)
        return fail(errno, "cannot listen on socket {}: {}", path, std::strerror(errno));
    return result;
}

ListeningSocket::~ListeningSocket() {
    if (!lock_.valid()) return;  // moved from
    if (socket_.valid()) ::unlink(path_.c_str());
    ::unlink((path_ + ".lock").c_str());
}

Result<OwnedFd> connect_unix(const std::string& path) {
    SLUICE_TRY(const sockaddr_un address, address_of(path));
    OwnedFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return fail(errno, "cannot make a socket: {}", std::strerror(errno));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return socket;
    if (errno == ENOENT) return fail(ENOENT, "there is no socket {}: is the role running?", path);
    if (errno == ECONNREFUSED)
        return fail(ECONNREFUSED, "nobody answers on socket {}: the role is not running", path);
    return fail(errno, "cannot connect to socket {}: {}", path, std::strerror(errno));
}

}  // namespace sluice::control
