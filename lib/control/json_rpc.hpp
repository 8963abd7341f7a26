#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "control/command.hpp"
#include "control/value.hpp"

// JSON-RPC 2.0 without the transport: one request line in, at most one response line out.

namespace sluice::control {

constexpr int kRpcParseError = -32700;
constexpr int kRpcInvalidRequest = -32600;
constexpr std::size_t kJsonDepthMax = 64;
constexpr std::size_t kRpcBatchMax = 1024;

// Nothing if `text` is no JSON, is not UTF-8, or is nested deeper than kJsonDepthMax: values are
// walked by recursion, and a peer must not choose how deep.
std::optional<Value> parse_json(std::string_view text);

// {"jsonrpc": "2.0", "id": null, "error": {...}} with a newline.
std::string rpc_error_line(int code, std::string_view message);

class RpcDispatcher {
  public:
    RpcDispatcher(CommandTable& table, std::string name, Access access)
        : table_(table), name_(std::move(name)), access_(access) {}

    // The response with a newline; empty for notifications. What would be longer than `bytes_max`
    // is an error instead, and ends a batch there.
    std::string handle(std::string_view line, std::size_t bytes_max);

  private:
    // Nothing for a notification.
    std::optional<Value> handle_one(const Value& request);
    CommandResult<Value> call(const std::string& method, const Value& params);
    CommandResult<Value> execute(const Value& params);
    CommandResult<Value> complete(const Value& params);

    CommandTable& table_;
    std::string name_;
    Access access_;
};

}  // namespace sluice::control
