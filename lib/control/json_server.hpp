#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "control/command.hpp"
#include "control/event_loop.hpp"

namespace sluice::control {

struct JsonServerOptions {
    std::string path;               // of the unix socket; a last folder that misses is made
    std::string name = "sluice";    // what clients show as prompt: "sluice-vswitch"
    Access access = Access::write;  // read: clients may look, not touch
    std::size_t line_bytes_max = 1u << 20;
    std::size_t queued_bytes_max = 8u << 20;  // a client that does not read is dropped above this
    std::size_t clients_max = 64;
};

// JSON-RPC 2.0 on a unix socket, one message a line. Methods are the table's commands and
//   commands                                 CommandTable::describe()
//   console.hello                            {name, version, pid}
//   console.execute {line}                   {value}; errors as the prompt would print them
//   console.complete {line, cursor}          [words]
class JsonServer {
  public:
    // EADDRINUSE if another process serves this path; a stale socket is removed. `loop` and
    // `table` must outlive the server.
    static Result<std::unique_ptr<JsonServer>> open(EventLoop& loop, CommandTable& table,
                                                    JsonServerOptions options);
    ~JsonServer();  // closes all clients and unlinks the socket
    JsonServer(const JsonServer&) = delete;
    JsonServer& operator=(const JsonServer&) = delete;

    const std::string& path() const noexcept;
    std::size_t clients() const noexcept;

  private:
    struct Impl;
    explicit JsonServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::control
