#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "control/client.hpp"
#include "control/console.hpp"
#include "control/line_editor.hpp"
#include "control/render.hpp"
#include "control/script.hpp"

namespace sluice::control {
namespace {

class Attached {
  public:
    Attached(Client client, const AttachOptions& options)
        : client_(std::move(client)), options_(options) {}

    bool run_commands() {
        for (const std::string& command : options_.commands) {
            auto value = client_.run(command);
            if (!value) return tell("", value.error());
            print(*value);
        }
        return true;
    }

    bool run_script(const std::string& file) {
        auto text = read_script(file);
        if (!text) return tell("", {CommandError::kFailed, text.error().code,
                                    std::move(text.error().message), {}, 0});
        ScriptRunner script = runner(file);
        auto ran = script.feed(*text);
        if (ran) ran = script.end();
        return ran ? true : tell(script.where(), ran.error());
    }

    // Lines from a pipe, each run as it comes.
    bool run_input() {
        ScriptRunner script = runner("stdin");
        std::array<char, 16 * 1024> piece;
        for (;;) {
            const ssize_t got = ::read(STDIN_FILENO, piece.data(), piece.size());
            if (got < 0 && errno == EINTR) continue;
            const auto ran = got > 0
                                 ? script.feed({piece.data(), static_cast<std::size_t>(got)})
                                 : script.end();
            if (!ran) return tell(script.where(), ran.error());
            if (got <= 0 || left_) return true;
        }
    }

    bool prompt() {
        LineEditor::Options editor_options;
        editor_options.prompt = name() + "> ";
        editor_options.history_file = default_history_file();
        editor_options.handle_signals = true;
        editor_options.complete = [this](std::string_view line, std::size_t cursor) {
            return client_.complete(line, cursor);
        };
        auto editor = LineEditor::open(std::move(editor_options));
        if (!editor)
            return tell("", {CommandError::kFailed, editor.error().code,
                             std::move(editor.error().message), {}, 0});
        while (!left_) {
            const auto line = (*editor)->read_line();
            if (!line) {
                std::fputs("\n", stdout);
                break;
            }
            auto value = run_or_leave(*line);
            if (value)
                print(*value);
            else
                tell("", value.error());
            if (!client_.connected()) return false;
        }
        return true;
    }

  private:
    ScriptRunner runner(const std::string& where) {
        const bool from_file = options_.script.has_value();
        return ScriptRunner(
            where,
            [this, from_file](const std::string& line) {
                return from_file ? client_.run(line) : run_or_leave(line);
            },
            [this](const Value& value) { print(value); });
    }

    // At a prompt, habit must not end the role that others work with: quit leaves the prompt. A
    // script and -e say what they mean.
    CommandResult<Value> run_or_leave(const std::string& line) {
        if (left_) return Value();
        const std::size_t first = line.find_first_not_of(" \t\r");
        const std::size_t last = line.find_last_not_of(" \t\r");
        const auto word = first == std::string::npos
                              ? std::string_view()
                              : std::string_view(line).substr(first, last - first + 1);
        if (word == "quit" || word == "exit") {
            left_ = true;
            return Value();
        }
        return client_.run(line);
    }

    std::string name() {
        const auto hello = client_.call("console.hello", Value());
        if (!hello || !hello->is_object()) return "sluice";
        const auto name = hello->find("name");
        return name != hello->end() && name->is_string() ? name->get<std::string>() : "sluice";
    }

    void print(const Value& value) const {
        // An empty answer is an answer for programs.
        const std::string text =
            options_.json ? render_json(value, true) + "\n" : render(value);
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
    }

    // Always false.
    bool tell(std::string_view where, const CommandError& error) const {
        return tell_error(options_.json, where, error);
    }

  public:
    static bool tell_error(bool json, std::string_view where, const CommandError& error) {
        if (!json) {
            const std::string text = where.empty() ? error.message : located(where, error);
            std::fprintf(stderr, "%s\n", text.c_str());
            return false;
        }
        Value object = Value::object();
        Value& inner = object["error"] = Value::object();
        inner["code"] = error.rpc_code;
        inner["message"] = error.message;
        inner["expected"] = error.expected;
        if (error.rpc_code == CommandError::kFailed) inner["errno"] = error.code;
        if (!where.empty()) inner["where"] = where;
        std::fprintf(stdout, "%s\n", render_json(object, true).c_str());
        std::fflush(stdout);
        return false;
    }

  private:
    Client client_;
    const AttachOptions& options_;
    bool left_ = false;
};

}  // namespace

int attach_main(const AttachOptions& options) {
    auto client = Client::connect(options.socket);
    if (!client) {
        Attached::tell_error(options.json, "",
                             {CommandError::kFailed, client.error().code,
                              std::move(client.error().message), {}, 0});
        return 1;
    }
    Attached attached(std::move(*client), options);
    bool good = attached.run_commands();
    if (good && options.script) good = attached.run_script(*options.script);
    if (options.commands.empty() && !options.script)
        good = ::isatty(STDIN_FILENO) != 0 ? attached.prompt() : attached.run_input();
    return good ? 0 : 1;
}

}  // namespace sluice::control
