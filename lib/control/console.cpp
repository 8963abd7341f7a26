#include "control/console.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "base/log.hpp"
#include "control/line_editor.hpp"
#include "control/render.hpp"
#include "control/script.hpp"
#include "control/unix_socket.hpp"

namespace sluice::control {
namespace {

// Where the prompt's thread waits for the loop. Outlives the console inside posted callbacks.
struct Exchange {
    std::mutex mutex;
    std::condition_variable changed;
    bool closing = false;
};

}  // namespace

struct Console::Impl : std::enable_shared_from_this<Console::Impl> {
    EventLoop& loop;
    CommandTable& table;
    ConsoleOptions options;

    // With a terminal:
    std::shared_ptr<Exchange> exchange = std::make_shared<Exchange>();
    OwnedFd wake;
    std::unique_ptr<LineEditor> editor;
    std::thread thread;

    // Without:
    std::unique_ptr<ScriptRunner> script;
    bool watching = false;

    Impl(EventLoop& the_loop, CommandTable& the_table, ConsoleOptions the_options)
        : loop(the_loop), table(the_table), options(std::move(the_options)) {}

    void close() {
        if (watching) loop.remove_fd(options.input);
        watching = false;
        {
            const std::lock_guard lock(exchange->mutex);
            exchange->closing = true;
        }
        if (!thread.joinable()) return;
        exchange->changed.notify_all();
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(wake.get(), &one, sizeof one);
        thread.join();
    }

    // Runs `work` on the loop's thread, which owns the table, and waits for what it gives. Nothing
    // if the console is closing: the loop may never come to it then.
    template <typename T, typename Work>
    std::optional<T> ask(Work work) {
        auto answer = std::make_shared<std::optional<T>>();
        loop.post([exchange = exchange, answer, work = std::move(work)] {
            // The console closes on this very thread, so this cannot change while `work` runs,
            // unless it is `work` that does it.
            {
                const std::lock_guard lock(exchange->mutex);
                if (exchange->closing) return;
            }
            T value = work();
            const std::lock_guard lock(exchange->mutex);
            *answer = std::move(value);
            exchange->changed.notify_all();
        });
        std::unique_lock lock(exchange->mutex);
        exchange->changed.wait(lock, [&] { return exchange->closing || answer->has_value(); });
        return exchange->closing ? std::nullopt : std::move(*answer);
    }

    void post_end(bool ok) {
        loop.post([exchange = exchange, on_end = options.on_end, ok] {
            {
                const std::lock_guard lock(exchange->mutex);
                if (exchange->closing) return;
            }
            if (on_end) on_end(ok);
        });
    }

    void print(const std::string& text) const {
        std::fwrite(text.data(), 1, text.size(), options.output);
        std::fflush(options.output);
    }

    void prompt_loop() {
        while (const auto line = editor->read_line()) {
            const auto answer = ask<std::string>([&the_table = table, text = *line] {
                auto value = the_table.run(text);
                return value ? render(*value) : value.error().message + "\n";
            });
            if (!answer) return;
            print(*answer);
        }
        print("\n");
        post_end(true);
    }

    Result<> start_prompt() {
        wake = OwnedFd(::eventfd(0, EFD_CLOEXEC));
        if (!wake.valid())
            return fail(errno, "cannot open the prompt: {}", std::strerror(errno));
        LineEditor::Options editor_options;
        editor_options.prompt = options.prompt;
        editor_options.history_file = options.history_file;
        editor_options.input = options.input;
        editor_options.output = options.output;
        editor_options.wake_fd = wake.get();
        editor_options.complete = [this](std::string_view line, std::size_t cursor) {
            using Words = std::vector<std::string>;
            return ask<Words>([&the_table = table, text = std::string(line), cursor] {
                       return the_table.complete(text, cursor);
                   }).value_or(Words());
        };
        SLUICE_TRY(editor, LineEditor::open(std::move(editor_options)));
        thread = std::thread([this] { prompt_loop(); });
        return {};
    }

    // What is still in a piece of input behind a `quit` is not run.
    CommandResult<Value> run_script_line(const std::string& line) {
        if (!watching || loop.stopped()) return Value();
        return table.run(line);
    }

    void on_input() {
        std::array<char, 16 * 1024> piece;
        const ssize_t got = ::read(options.input, piece.data(), piece.size());
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        // A command of the script may close the console.
        const auto alive = shared_from_this();
        const auto ran =
            got > 0 ? script->feed({piece.data(), static_cast<std::size_t>(got)}) : script->end();
        if (!ran) log::error("console", "{}", located(script->where(), ran.error()));
        if (!watching || (ran && got > 0)) return;
        loop.remove_fd(options.input);
        watching = false;
        post_end(ran.has_value());
    }

    Result<> start_script() {
        script = std::make_unique<ScriptRunner>(
            "stdin", [this](const std::string& line) { return run_script_line(line); },
            text_printer(options.output));
        SLUICE_TRY_VOID(loop.add_fd(options.input, EPOLLIN, [this](std::uint32_t) { on_input(); }));
        watching = true;
        return {};
    }
};

Console::Console(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Console::~Console() { impl_->close(); }

Result<std::unique_ptr<Console>> Console::start(EventLoop& loop, CommandTable& table,
                                                ConsoleOptions options) {
    const int input = options.input;
    auto impl = std::make_shared<Impl>(loop, table, std::move(options));
    if (::isatty(input) == 0) {
        SLUICE_TRY_VOID(impl->start_script());
    } else if (::tcgetpgrp(input) == ::getpgrp()) {
        SLUICE_TRY_VOID(impl->start_prompt());
    } else {
        // In the background, touching the terminal would stop the whole process.
        log::info("console", "no prompt: not in the foreground of the terminal");
    }
    return std::unique_ptr<Console>(new Console(std::move(impl)));
}

Result<> run_script(CommandTable& table, const std::string& file, std::FILE* output,
                    const std::function<bool()>& stopped) {
    SLUICE_TRY(const std::string text, read_script(file));
    const auto run = [&](const std::string& line) {
        return stopped && stopped() ? CommandResult<Value>(Value()) : table.run(line);
    };
    ScriptRunner script(file, run, text_printer(output));
    auto ran = script.feed(text);
    if (ran) ran = script.end();
    if (!ran) return fail(Error{ran.error().code, located(script.where(), ran.error())});
    return {};
}

std::string default_history_file() {
    const char* const home = std::getenv("HOME");
    return home == nullptr || *home == '\0' ? "" : std::string(home) + "/.sluice_history";
}

}  // namespace sluice::control
