#include "control/line_editor.hpp"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstring>

#include "control/matcher.hpp"

namespace sluice::control {
namespace {

constexpr int kHistoryLines = 1000;
constexpr std::size_t kListedMax = 100;

int code_points(std::string_view text) noexcept {
    return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    }));
}

std::string common_prefix(const std::vector<std::string>& words) {
    std::string prefix = words.front();
    for (const std::string& word : words) {
        const auto [end, ignored] =
            std::mismatch(prefix.begin(), prefix.end(), word.begin(), word.end());
        prefix.erase(end, prefix.end());
    }
    return prefix;
}

// The bytes of the word that ends at the cursor, as typed.
std::string_view partial_word(std::string_view head) {
    const Line line = split_line(head);
    if (line.words.empty()) return {};
    const Word& last = line.words.back();
    return last.column + last.length == head.size() ? head.substr(last.column)
                                                    : std::string_view();
}

}  // namespace

struct LineEditor::Impl {
    Options options;
    std::FILE* input = nullptr;
    EditLine* edit = nullptr;
    History* history = nullptr;
    HistEvent event{};

    ~Impl() {
        if (edit != nullptr) el_end(edit);
        if (history != nullptr) {
            if (!options.history_file.empty())
                ::history(history, &event, H_SAVE, options.history_file.c_str());
            history_end(history);
        }
        if (input != nullptr) std::fclose(input);
    }

    static Impl& of(EditLine* edit) {
        void* self = nullptr;
        el_get(edit, EL_CLIENTDATA, &self);
        return *static_cast<Impl*>(self);
    }

    // 1: a byte; 0: the end.
    int read_byte(unsigned char& byte) const {
        for (;;) {
            pollfd ready[2] = {{::fileno(input), POLLIN, 0}, {options.wake_fd, POLLIN, 0}};
            if (::poll(ready, 2, -1) < 0) {
                if (errno == EINTR) continue;
                return 0;
            }
            if (options.wake_fd >= 0 && ready[1].revents != 0) return 0;
            if (ready[0].revents == 0) continue;
            const ssize_t got = ::read(::fileno(input), &byte, 1);
            if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
            return got == 1 ? 1 : 0;
        }
    }

    // libedit's own reader cannot be woken. Takes UTF-8 whatever the locale is.
    static int read_char(EditLine* edit, wchar_t* result) {
        const Impl& self = of(edit);
        unsigned char byte = 0;
        if (self.read_byte(byte) != 1) return 0;
        std::uint32_t value = byte;
        int more = 0;
        if (byte >= 0xf0) {
            more = 3;
            value = byte & 0x07;
        } else if (byte >= 0xe0) {
            more = 2;
            value = byte & 0x0f;
        } else if (byte >= 0xc0) {
            more = 1;
            value = byte & 0x1f;
        }
        for (; more > 0; --more) {
            if (self.read_byte(byte) != 1) return 0;
            value = value << 6 | (byte & 0x3f);
        }
        *result = static_cast<wchar_t>(value);
        return 1;
    }

    static char* prompt(EditLine* edit) { return of(edit).options.prompt.data(); }

    static unsigned char complete(EditLine* edit, int) { return of(edit).complete_here(); }

    unsigned char complete_here() {
        const LineInfo* info = el_line(edit);
        const std::string line(info->buffer, info->lastchar);
        const auto cursor = static_cast<std::size_t>(info->cursor - info->buffer);
        const auto words = options.complete ? options.complete(line, cursor)
                                            : std::vector<std::string>();
        if (words.empty()) return CC_REFRESH_BEEP;
        const std::string_view partial = partial_word(std::string_view(line).substr(0, cursor));
        std::string better = common_prefix(words);
        if (words.size() == 1 && !better.ends_with('/')) better += ' ';
        if (better.size() > partial.size() || words.size() == 1) {
            el_deletestr(edit, code_points(partial));
            return el_insertstr(edit, better.c_str()) == 0 ? CC_REFRESH : CC_REFRESH_BEEP;
        }
        list(words);
        return CC_REDISPLAY;
    }

    void list(const std::vector<std::string>& words) const {
        std::size_t column = 0;
        for (const std::string& word : words) column = std::max(column, word.size() + 2);
        const std::size_t per_line = std::max<std::size_t>(1, 78 / column);
        std::string text = "\n";
        const std::size_t shown = std::min(words.size(), kListedMax);
        for (std::size_t i = 0; i < shown; ++i) {
            const bool last = (i + 1) % per_line == 0 || i + 1 == shown;
            text += words[i];
            text += last ? "\n" : std::string(column - words[i].size(), ' ');
        }
        if (shown < words.size()) text += "...\n";
        std::fputs(text.c_str(), options.output);
        std::fflush(options.output);
    }

    Result<> open() {
        // libedit converts by the locale; without one, all but ASCII would be lost.
        if (std::setlocale(LC_CTYPE, nullptr) == std::string_view("C"))
            std::setlocale(LC_CTYPE, "C.UTF-8");
        const int own = ::dup(options.input);
        input = own >= 0 ? ::fdopen(own, "r") : nullptr;
        if (input == nullptr) {
            if (own >= 0) ::close(own);
            return fail(errno, "cannot open the prompt: {}", std::strerror(errno));
        }
        edit = el_init("sluice", input, options.output, stderr);
        history = history_init();
        if (edit == nullptr || history == nullptr)
            return fail(ENOTTY, "cannot open the prompt on this terminal");
        el_set(edit, EL_CLIENTDATA, this);
        el_set(edit, EL_PROMPT, &Impl::prompt);
        el_set(edit, EL_EDITOR, "emacs");
        el_set(edit, EL_SIGNAL, options.handle_signals ? 1 : 0);
        el_set(edit, EL_GETCFN, &Impl::read_char);
        el_set(edit, EL_ADDFN, "sluice-complete", "completes commands", &Impl::complete);
        el_set(edit, EL_BIND, "^I", "sluice-complete", nullptr);
        el_set(edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
        ::history(history, &event, H_SETSIZE, kHistoryLines);
        ::history(history, &event, H_SETUNIQUE, 1);
        if (!options.history_file.empty())
            ::history(history, &event, H_LOAD, options.history_file.c_str());
        el_set(edit, EL_HIST, ::history, history);
        return {};
    }
};

LineEditor::LineEditor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

LineEditor::~LineEditor() = default;

Result<std::unique_ptr<LineEditor>> LineEditor::open(Options options) {
    auto impl = std::make_unique<Impl>();
    impl->options = std::move(options);
    SLUICE_TRY_VOID(impl->open());
    return std::unique_ptr<LineEditor>(new LineEditor(std::move(impl)));
}

std::optional<std::string> LineEditor::read_line() {
    el_resize(impl_->edit);
    // libedit shows the prompt first and then changes the terminal; ^D typed in between would be
    // lost.
    el_set(impl_->edit, EL_PREP_TERM, 1);
    int count = 0;
    const char* const text = el_gets(impl_->edit, &count);
    if (text == nullptr || count <= 0) return std::nullopt;
    std::string line(text, static_cast<std::size_t>(count));
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    if (line.find_first_not_of(" \t") != std::string::npos)
        ::history(impl_->history, &impl_->event, H_ENTER, line.c_str());
    return line;
}

}  // namespace sluice::control
