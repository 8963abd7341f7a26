#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "control/command.hpp"
#include "control/unix_socket.hpp"
#include "control/value.hpp"

namespace sluice::control {

// The blocking other end of JsonServer.
class Client {
  public:
    static Result<Client> connect(const std::string& socket_path);

    // A lost connection is kFailed with EPIPE or ECONNRESET, and connected() is false then.
    CommandResult<Value> call(std::string_view method, const Value& params);
    // A line as typed at the role's own prompt.
    CommandResult<Value> run(std::string_view line);
    Result<Value> execute(std::string_view line);
    std::vector<std::string> complete(std::string_view line, std::size_t cursor);

    bool connected() const noexcept { return socket_.valid(); }

  private:
    explicit Client(OwnedFd socket) noexcept : socket_(std::move(socket)) {}
    Result<std::string> read_line();
    Result<> write_all(std::string_view bytes);
    Result<Value> exchange(std::string_view method, const Value& params);

    OwnedFd socket_;
    std::uint64_t next_id_ = 1;
    std::string buffer_;
};

struct AttachOptions {
    std::string socket;
    std::vector<std::string> commands;   // -e, each one line
    std::optional<std::string> script;   // -f
    bool json = false;                   // values as JSON, errors as {"error": {...}} on stdout
};

// The whole of `--attach SOCK`; returns the exit code. Commands and the script run in this order
// and the first error ends it; without both there is a prompt, or, when standard input is not a
// terminal, the lines it brings.
int attach_main(const AttachOptions& options);

}  // namespace sluice::control
