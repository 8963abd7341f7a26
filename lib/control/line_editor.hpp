#pragma once

#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace sluice::control {

// libedit with prompt, history and completion: the only file pair that knows it.
class LineEditor {
  public:
    using Completions =
        std::function<std::vector<std::string>(std::string_view line, std::size_t cursor)>;

    struct Options {
        std::string prompt;
        std::string history_file;  // "" keeps none
        int input = 0;
        std::FILE* output = stdout;
        int wake_fd = -1;             // readable: read_line() ends at once
        bool handle_signals = false;  // let libedit give the terminal back on SIGINT and the like
        Completions complete;
    };

    static Result<std::unique_ptr<LineEditor>> open(Options options);
    ~LineEditor();  // saves the history, gives the terminal back
    LineEditor(const LineEditor&) = delete;
    LineEditor& operator=(const LineEditor&) = delete;

    // Without its newline; nothing at the end of input or when woken.
    std::optional<std::string> read_line();

  private:
    struct Impl;
    explicit LineEditor(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::control
