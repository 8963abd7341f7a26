#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.hpp"
#include "ipc_api/fd.hpp"

namespace sluice::ipc_api {

struct SocketFile {
    std::string path = "/run/sluice/api.sock";
    std::optional<uid_t> owner;
    std::optional<gid_t> group;
    mode_t mode = 0660;
};

// A listening SOCK_SEQPACKET socket at a path that is ours alone: PATH.lock is held while it lives,
// and a socket that a dead server left is replaced.
class Listener {
  public:
    static Result<Listener> open(const SocketFile& file);
    Listener(Listener&&) noexcept = default;
    Listener& operator=(Listener&&) = delete;
    ~Listener();  // unlinks both

    int fd() const noexcept { return socket_.get(); }

  private:
    Listener(std::string path, OwnedFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

    std::string path_;
    OwnedFd lock_;
    OwnedFd socket_;
};

}  // namespace sluice::ipc_api
