#include "control/client.hpp"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cstring>

#include "control/json_rpc.hpp"
#include "control/render.hpp"

namespace sluice::control {
namespace {

constexpr std::size_t kAnswerBytesMax = 256u << 20;
constexpr timeval kPatience{30, 0};  // commands answer at once; a role that hangs does not

CommandError error_of(const Value& error) {
    CommandError result;
    const auto code = error.find("code");
    if (code != error.end() && code->is_number_integer()) result.rpc_code = code->get<int>();
    const auto message = error.find("message");
    result.message = message != error.end() && message->is_string()
                         ? message->get<std::string>()
                         : "the role sent an error without a message";
    const auto data = error.find("data");
    if (data == error.end() || !data->is_object()) return result;
    const auto number = data->find("errno");
    if (number != data->end() && number->is_number_integer()) result.code = number->get<int>();
    const auto expected = data->find("expected");
    if (expected != data->end() && expected->is_array())
        for (const Value& word : *expected)
            if (word.is_string()) result.expected.push_back(word.get<std::string>());
    return result;
}

}  // namespace

Result<Client> Client::connect(const std::string& socket_path) {
    SLUICE_TRY(OwnedFd socket, connect_unix(socket_path));
    for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO})
        setsockopt(socket.get(), SOL_SOCKET, option, &kPatience, sizeof(kPatience));
    return Client(std::move(socket));
}

Result<> Client::write_all(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            return fail(errno, "the connection to the role is lost: {}", std::strerror(errno));
        }
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
}

Result<std::string> Client::read_line() {
    std::size_t searched = 0;
    for (;;) {
        const std::size_t end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            return line;
        }
        searched = buffer_.size();
        if (searched > kAnswerBytesMax)
            return fail(EMSGSIZE, "the role's answer is longer than {} bytes", kAnswerBytesMax);
        std::array<char, 64 * 1024> piece;
        const ssize_t got = ::recv(socket_.get(), piece.data(), piece.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return fail(ETIMEDOUT, "the role has not answered for {} s", kPatience.tv_sec);
        if (got < 0)
            return fail(errno, "the connection to the role is lost: {}", std::strerror(errno));
        if (got == 0) return fail(EPIPE, "the role has closed the connection");
        buffer_.append(piece.data(), static_cast<std::size_t>(got));
    }
}

Result<Value> Client::exchange(std::string_view method, const Value& params) {
    if (!connected()) return fail(ENOTCONN, "the connection to the role is lost");
    const std::uint64_t id = next_id_++;
    Value request = Value::object();
    request["jsonrpc"] = "2.0";
    request["id"] = id;
    request["method"] = method;
    if (!params.is_null()) request["params"] = params;
    auto written = write_all(render_json(request, false) + "\n");
    for (;;) {
        // After a failed write too: the server may have said why before it closed.
        auto line = read_line();
        if (!line) return fail(std::move(written ? line.error() : written.error()));
        auto answer = parse_json(*line);
        if (!answer || !answer->is_object())
            return fail(EPROTO, "the role sent a line that is no JSON-RPC answer");
        const auto answer_id = answer->find("id");
        const bool ours = answer_id == answer->end() || answer_id->is_null() || *answer_id == id;
        if (ours) return std::move(*answer);
    }
}

CommandResult<Value> Client::call(std::string_view method, const Value& params) {
    auto answer = exchange(method, params);
    if (!answer) {
        socket_ = OwnedFd();
        return tl::unexpected<CommandError>(CommandError{
            CommandError::kFailed, answer.error().code, std::move(answer.error().message), {}, 0});
    }
    const auto error = answer->find("error");
    if (error != answer->end() && error->is_object()) return tl::unexpected(error_of(*error));
    const auto result = answer->find("result");
    return result == answer->end() ? Value() : std::move(*result);
}

CommandResult<Value> Client::run(std::string_view line) {
    Value params = Value::object();
    params["line"] = line;
    auto result = call("console.execute", params);
    if (!result) return result;
    if (!result->is_object()) return Value();
    const auto value = result->find("value");
    return value == result->end() ? Value() : std::move(*value);
}

Result<Value> Client::execute(std::string_view line) {
    auto result = run(line);
    if (!result) return fail(Error{result.error().code, std::move(result.error().message)});
    return std::move(*result);
}

std::vector<std::string> Client::complete(std::string_view line, std::size_t cursor) {
    Value params = Value::object();
    params["line"] = line;
    params["cursor"] = cursor;
    const auto result = call("console.complete", params);
    std::vector<std::string> words;
    if (result && result->is_array())
        for (const Value& word : *result)
            if (word.is_string()) words.push_back(word.get<std::string>());
    return words;
}

}  // namespace sluice::control
