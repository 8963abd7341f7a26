#pragma once

#include <string>
#include <utility>

#include "base/result.hpp"

// Owning a path in the file system as a listening unix socket, and connecting to one.

namespace sluice::control {

// A file descriptor that closes itself.
class OwnedFd {
  public:
    OwnedFd() noexcept = default;
    explicit OwnedFd(int fd) noexcept : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~OwnedFd();

    int get() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }
    bool valid() const noexcept { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

// A listening socket of mode 0600 at a path that is ours alone. PATH.lock is held with flock while
// it lives: two instances that start at the same moment both see a stale socket, and without the
// lock each would take the path away from the other.
class ListeningSocket {
  public:
    static Result<ListeningSocket> open(const std::string& path);
    ListeningSocket(ListeningSocket&&) noexcept = default;
    ListeningSocket& operator=(ListeningSocket&&) = delete;
    ~ListeningSocket();  // unlinks socket and lock

    int fd() const noexcept { return socket_.get(); }
    const std::string& path() const noexcept { return path_; }

  private:
    ListeningSocket(std::string path, OwnedFd lock, OwnedFd socket)
        : path_(std::move(path)), lock_(std::move(lock)), socket_(std::move(socket)) {}

    std::string path_;
    OwnedFd lock_;
    OwnedFd socket_;
};

// Blocking; the error says who is not there.
Result<OwnedFd> connect_unix(const std::string& path);

}  // namespace sluice::control
