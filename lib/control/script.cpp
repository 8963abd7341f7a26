#include "control/script.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "control/matcher.hpp"
#include "control/render.hpp"

namespace sluice::control {

std::string located(std::string_view where, const CommandError& error) {
    const std::size_t reason = error.message.rfind('\n');
    if (reason == std::string::npos) return fmt::format("{}: {}", where, error.message);
    return fmt::format("{}: {}\n{}", where, error.message.substr(reason + 1),
                       error.message.substr(0, reason));
}

CommandResult<void> ScriptRunner::feed(std::string_view bytes) {
    for (;;) {
        const std::size_t end = bytes.find('\n');
        if (end == std::string_view::npos) break;
        pending_ += bytes.substr(0, end);
        bytes.remove_prefix(end + 1);
        const std::string line = std::exchange(pending_, {});
        if (auto ran = run_line(line); !ran) return ran;
    }
    pending_ += bytes;
    return {};
}

CommandResult<void> ScriptRunner::end() {
    if (pending_.empty()) return {};
    return run_line(std::exchange(pending_, {}));
}

std::string ScriptRunner::where() const { return fmt::format("{}:{}", name_, line_); }

CommandResult<void> ScriptRunner::run_line(const std::string& line) {
    ++line_;
    if (split_line(line).words.empty()) return {};  // a blank line or a comment gives no answer
    auto value = run_(line);
    if (!value) return tl::unexpected(std::move(value.error()));
    print_(*value);
    return {};
}

Result<std::string> read_script(const std::string& file) {
    struct stat status {};
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> stream(std::fopen(file.c_str(), "re"),
                                                                 &std::fclose);
    if (!stream) return fail(errno, "cannot read script {}: {}", file, std::strerror(errno));
    if (::fstat(::fileno(stream.get()), &status) == 0 && S_ISDIR(status.st_mode))
        return fail(EISDIR, "script {} is a directory", file);
    std::string text;
    std::array<char, 16 * 1024> piece;
    std::size_t got = 0;
    while ((got = std::fread(piece.data(), 1, piece.size(), stream.get())) > 0)
        text.append(piece.data(), got);
    if (std::ferror(stream.get()))
        return fail(errno, "cannot read script {}: {}", file, std::strerror(errno));
    return text;
}

ValuePrinter text_printer(std::FILE* output) {
    return [output](const Value& value) {
        const std::string text = render(value);
        std::fwrite(text.data(), 1, text.size(), output);
        std::fflush(output);
    };
}

}  // namespace sluice::control
