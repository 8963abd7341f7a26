#include "control/json_rpc.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "control/matcher.hpp"
#include "control/render.hpp"

namespace sluice::control {
namespace {

Value error_response(const Value& id, int code, std::string_view message, Value data) {
    Value response = Value::object();
    response["jsonrpc"] = "2.0";
    response["id"] = id;
    Value& error = response["error"] = Value::object();
    error["code"] = code;
    error["message"] = message;
    if (!data.empty()) error["data"] = std::move(data);
    return response;
}

bool too_deep(std::string_view text) noexcept {
    std::size_t depth = 0;
    bool inside_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (inside_string) {
            if (c == '\\')
                ++i;
            else if (c == '"')
                inside_string = false;
        } else if (c == '"') {
            inside_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > kJsonDepthMax) return true;
        } else if ((c == ']' || c == '}') && depth > 0) {
            --depth;
        }
    }
    return false;
}

tl::unexpected<CommandError> invalid_params(std::string message) {
    return tl::unexpected<CommandError>(
        CommandError{CommandError::kInvalidParams, EINVAL, std::move(message), {}, 0});
}

const std::string* string_param(const Value& params, const char* name) {
    if (!params.is_object()) return nullptr;
    const auto found = params.find(name);
    return found != params.end() && found->is_string() ? &found->get_ref<const std::string&>()
                                                       : nullptr;
}

}  // namespace

std::optional<Value> parse_json(std::string_view text) {
    if (too_deep(text)) return std::nullopt;
    Value value = Value::parse(text.begin(), text.end(), nullptr, false);
    if (value.is_discarded()) return std::nullopt;
    return value;
}

std::string rpc_error_line(int code, std::string_view message) {
    return render_json(error_response(nullptr, code, message, nullptr), false) + "\n";
}

std::string RpcDispatcher::handle(std::string_view line, std::size_t bytes_max) {
    const auto request = parse_json(line);
    if (!request)
        return rpc_error_line(kRpcParseError,
                              "the line is not JSON, or is nested deeper than 64 levels");
    if (!request->is_array()) {
        const auto response = handle_one(*request);
        if (!response) return "";
        const std::string text = render_json(*response, false) + "\n";
        if (text.size() <= bytes_max) return text;
        const std::string message = fmt::format("the answer has {} bytes; at most {} are possible",
                                                text.size(), bytes_max);
        return render_json(error_response(response->at("id"), CommandError::kFailed, message,
                                          nullptr), false) + "\n";
    }
    if (request->empty()) return rpc_error_line(kRpcInvalidRequest, "the batch is empty");
    if (request->size() > kRpcBatchMax)
        return rpc_error_line(kRpcInvalidRequest, "the batch has more than 1024 requests");
    std::string responses;
    std::size_t done = 0;
    for (const Value& one : *request) {
        const auto response = handle_one(one);
        ++done;
        if (!response) continue;
        responses += (responses.empty() ? "[" : ",") + render_json(*response, false);
        if (responses.size() + 2 > bytes_max)
            return rpc_error_line(
                CommandError::kFailed,
                fmt::format("the answers have more than {} bytes; {} requests of the batch were "
                            "carried out", bytes_max, done));
    }
    return responses.empty() ? "" : responses + "]\n";
}

std::optional<Value> RpcDispatcher::handle_one(const Value& request) {
    Value id;
    if (!request.is_object())
        return error_response(id, kRpcInvalidRequest, "a request is an object", nullptr);
    const auto id_at = request.find("id");
    const bool notification = id_at == request.end();
    if (!notification) {
        if (!id_at->is_string() && !id_at->is_number() && !id_at->is_null())
            return error_response(id, kRpcInvalidRequest, "'id' must be a string or a number",
                                  nullptr);
        id = *id_at;
    }
    const auto version = request.find("jsonrpc");
    if (version == request.end() || *version != "2.0")
        return error_response(id, kRpcInvalidRequest, "'jsonrpc' must be \"2.0\"", nullptr);
    const auto method = request.find("method");
    if (method == request.end() || !method->is_string())
        return error_response(id, kRpcInvalidRequest, "'method' must be a string", nullptr);
    const auto params = request.find("params");
    if (params != request.end() && !params->is_structured())
        return error_response(id, kRpcInvalidRequest, "'params' must be an object", nullptr);

    auto result =
        call(method->get_ref<const std::string&>(), params == request.end() ? Value() : *params);
    if (notification) return std::nullopt;
    if (!result)
        return error_response(id, result.error().rpc_code, result.error().message,
                              result.error().data());
    Value response = Value::object();
    response["jsonrpc"] = "2.0";
    response["id"] = std::move(id);
    response["result"] = std::move(*result);
    return response;
}

CommandResult<Value> RpcDispatcher::call(const std::string& method, const Value& params) {
    if (method == "commands") return table_.describe();
    if (method == "console.execute") return execute(params);
    if (method == "console.complete") return complete(params);
    if (method == "console.hello") {
        Value hello = Value::object();
        hello["name"] = name_;
        hello["version"] = SLUICE_VERSION;
        hello["pid"] = ::getpid();
        return hello;
    }
    return table_.call(method, params, access_);
}

CommandResult<Value> RpcDispatcher::execute(const Value& params) {
    const std::string* line = string_param(params, "line");
    if (line == nullptr) return invalid_params("param 'line' must be a string");
    auto value = table_.run(*line, access_);
    if (!value) return value;
    Value result = Value::object();
    result["value"] = std::move(*value);
    return result;
}

CommandResult<Value> RpcDispatcher::complete(const Value& params) {
    const std::string* line = string_param(params, "line");
    if (line == nullptr) return invalid_params("param 'line' must be a string");
    std::size_t cursor = line->size();
    if (const auto at = params.find("cursor"); at != params.end()) {
        if (!at->is_number_unsigned())
            return invalid_params("param 'cursor' must be a byte offset in the line");
        cursor = std::min(cursor, at->get<std::size_t>());
    }
    return Value(table_.complete(*line, cursor));
}

}  // namespace sluice::control
