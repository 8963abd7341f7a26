#include "control/command.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>

#include "control/bind_params.hpp"
#include "control/grammar.hpp"
#include "control/matcher.hpp"

namespace sluice::control {
namespace {

constexpr std::size_t kValuesShown = 8;

struct Entry {
    Command command;
    Grammar grammar;
    std::vector<std::string> methods;
};

// The line with verb and noun in the table's order, and how far the table knows it.
struct Resolved {
    Line line;
    Match match;
};

CommandError error_of(int rpc_code, int code, std::string message) {
    return {rpc_code, code, std::move(message), {}, 0};
}

bool may_be(const Choice& choice, const Word& word) {
    return !word.quoted &&
           std::any_of(choice.atoms.begin(), choice.atoms.end(),
                       [&](const Atom& atom) { return atom.text.starts_with(word.text); });
}

std::string quoted_if_needed(const std::string& word) {
    const auto special = [](char c) { return c == ' ' || c == '\t' || c == '"' || c == '#'; };
    if (!word.empty() && std::none_of(word.begin(), word.end(), special)) return word;
    std::string result = "\"";
    for (const char c : word) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

std::vector<std::string> file_names(const std::string& partial) {
    namespace fs = std::filesystem;
    std::vector<std::string> result;
    const std::size_t slash = partial.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : partial.substr(0, slash + 1);
    std::error_code error;
    fs::directory_iterator at(folder.empty() ? "." : folder, error);
    for (; !error && at != fs::directory_iterator(); at.increment(error)) {
        std::error_code ignored;
        std::string name = folder + at->path().filename().string();
        if (at->is_directory(ignored)) name += '/';
        result.push_back(std::move(name));
    }
    return result;
}

}  // namespace

struct CommandTable::Impl {
    std::vector<std::unique_ptr<Entry>> entries;
    std::map<std::string, Completer, std::less<>> completers;

    std::vector<MatchState> starts() const {
        std::vector<MatchState> result;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            result.emplace_back();
            result.back().command = i;
            result.back().grammar = &entries[i]->grammar;
        }
        return result;
    }

    // Of the commands that have this noun as second word.
    std::vector<MatchState> starts_with_noun(const Word& noun) const {
        std::vector<MatchState> result;
        for (MatchState& state : starts())
            if (state.grammar->has_noun() && may_be(state.grammar->elements[1].choice, noun))
                result.push_back(std::move(state));
        return result;
    }

    Resolved resolve(Line line, std::size_t count) const {
        Match match = match_words(starts(), line, count);
        const bool no_verb = match.failure == Match::Failure::unknown && match.word == 0;
        if (no_verb && count >= 2) {
            auto swapped_starts = starts_with_noun(line.words[0]);
            if (!swapped_starts.empty()) {
                std::swap(line.words[0], line.words[1]);
                match = match_words(std::move(swapped_starts), line, count);
            }
        }
        return {std::move(line), std::move(match)};
    }

    std::vector<std::string> values_of(const Atom& variable) const {
        const auto found = completers.find(variable.text);
        if (found == completers.end() || !found->second) return {};
        try {
            return found->second();
        } catch (const std::exception&) {
            return {};
        }
    }

    std::string label(const Atom& atom) const {
        if (!atom.is_variable || atom.type != VariableType::str) return atom.label();
        const auto values = values_of(atom);
        if (values.empty()) return atom.label();
        std::string text = atom.text + " (";
        for (std::size_t i = 0; i < std::min(values.size(), kValuesShown); ++i)
            text += (i > 0 ? ", " : "") + values[i];
        return text + (values.size() > kValuesShown ? ", ...)" : ")");
    }

    CommandError syntax_error(const Resolved& resolved) const;
    CommandResult<Value> invoke(const Entry& entry, const Args& args, Access allowed) const;
    Result<Value> help(const Args& args) const;
    std::vector<std::string> complete(std::string_view head) const;
    std::vector<std::string> complete_word(const Line& line, std::size_t count,
                                           const Word& partial) const;
    std::vector<std::string> atom_values(const Atom& atom, const std::string& partial) const;
};

Value CommandError::data() const {
    Value result = Value::object();
    if (rpc_code == kFailed || rpc_code == kRefused) result["errno"] = code;
    if (!expected.empty()) result["expected"] = expected;
    return result;
}

CommandError CommandTable::Impl::syntax_error(const Resolved& resolved) const {
    const auto& [line, match] = resolved;
    CommandError error;
    error.rpc_code = CommandError::kInvalidParams;
    if (match.failure == Match::Failure::ambiguous) {
        error.expected = match.candidates;
    } else {
        for (const Atom* atom : match.expected()) add_once(error.expected, label(*atom));
        if (match.accepted() != nullptr) add_once(error.expected, "the end of the line");
    }

    std::string what;
    std::size_t length = 1;
    if (match.failure == Match::Failure::none) {
        const Word& last = *std::max_element(
            line.words.begin(), line.words.end(),
            [](const Word& a, const Word& b) { return a.column < b.column; });
        error.column = last.column + last.length + 1;
        what = "the line is not complete";
    } else {
        const Word& word = line.words[match.word];
        error.column = word.column;
        length = word.length;
        const std::string shown = one_line(word.text.substr(0, 80));
        if (match.failure == Match::Failure::ambiguous)
            what = fmt::format("'{}' is ambiguous", shown);
        else if (match.failure == Match::Failure::excess)
            what = fmt::format("'{}' is one word too many", shown);
        else
            what = fmt::format("'{}' does not fit here", shown);
        if (match.word == 0) error.rpc_code = CommandError::kMethodNotFound;
    }
    error.message = fmt::format("{}\n{}; expected: {}", point_at(line.text, error.column, length),
                                what, join_or(error.expected));
    return error;
}

CommandResult<Value> CommandTable::Impl::invoke(const Entry& entry, const Args& args,
                                                Access allowed) const {
    if (entry.command.access == Access::write && allowed == Access::read)
        return tl::unexpected(error_of(
            CommandError::kRefused, EACCES,
            fmt::format("'{}' is refused: this client may only read", entry.command.grammar)));
    // Handlers report errors as Results; an exception is a bug of theirs that must not take the
    // control thread down.
    try {
        Result<Value> result = entry.command.handler(args);
        if (result) return std::move(*result);
        const Error& error = result.error();
        std::string message = one_line(error.message);
        if (message.empty()) message = std::strerror(error.code);
        return tl::unexpected(error_of(CommandError::kFailed, error.code, std::move(message)));
    } catch (const std::exception& e) {
        return tl::unexpected(
            error_of(CommandError::kFailed, EFAULT,
                     fmt::format("internal error in '{}': {}", entry.command.grammar,
                                 one_line(e.what()))));
    }
}

Result<Value> CommandTable::Impl::help(const Args& args) const {
    const std::string words = args.optional_str("WORDS").value_or("");
    std::vector<const Entry*> found;
    const Line line = split_line(words);
    const Resolved resolved = resolve(line, line.words.size());
    if (resolved.match.failure != Match::Failure::none)
        return fail(ENOENT, "no command begins with '{}'; type 'help' for all of them",
                    words.substr(0, 80));
    for (const MatchState& state : resolved.match.states) {
        const Entry* entry = entries[state.command].get();
        if (std::find(found.begin(), found.end(), entry) == found.end()) found.push_back(entry);
    }
    if (found.size() == 1) {
        const Command& command = found[0]->command;
        Value one = Value::object();
        one["command"] = command.grammar;
        one["help"] = command.help;
        one["access"] = command.access == Access::read ? "read" : "write";
        return one;
    }
    std::stable_sort(found.begin(), found.end(), [](const Entry* a, const Entry* b) {
        return a->command.grammar < b->command.grammar;
    });
    Value list = Value::array();
    for (const Entry* entry : found) {
        Value row = Value::object();
        row["command"] = entry->command.grammar;
        row["help"] = entry->command.help;
        list.push_back(std::move(row));
    }
    return list;
}

std::vector<std::string> CommandTable::Impl::atom_values(const Atom& atom,
                                                         const std::string& partial) const {
    if (!atom.is_variable) return {atom.text};
    const auto known = completers.find(atom.text);
    if (known == completers.end() && atom.type == VariableType::path) return file_names(partial);
    return values_of(atom);
}

std::vector<std::string> CommandTable::Impl::complete_word(const Line& line, std::size_t count,
                                                           const Word& partial) const {
    std::vector<std::string> result;
    const auto offer = [&](const Choice& choice) {
        for (const Atom& atom : choice.atoms) {
            if (partial.quoted && !atom.is_variable) continue;
            for (const std::string& value : atom_values(atom, partial.text))
                if (value.starts_with(partial.text)) add_once(result, quoted_if_needed(value));
        }
    };
    const Resolved resolved = resolve(line, count);
    if (resolved.match.failure == Match::Failure::none)
        for (const MatchState& state : resolved.match.states)
            for (const Branch& branch : branches(state)) offer(*branch.choice);
    // Noun first: the noun where no verb begins like this, then the verbs that have it.
    if (count == 0 && result.empty())
        for (const auto& entry : entries)
            if (entry->grammar.has_noun()) offer(entry->grammar.elements[1].choice);
    if (count == 1 && resolved.match.failure == Match::Failure::unknown)
        for (const MatchState& state : starts_with_noun(line.words[0]))
            offer(state.grammar->elements[0].choice);
    std::sort(result.begin(), result.end());
    return result;
}

std::vector<std::string> CommandTable::Impl::complete(std::string_view head) const {
    Line line = split_line(head);
    if (line.text.size() != head.size()) return {};  // in a comment
    Word partial;
    if (!line.words.empty() && line.words.back().column + line.words.back().length == head.size()) {
        partial = line.words.back();
        line.words.pop_back();
    }
    const std::size_t count = line.words.size();
    if (count > 0) {
        // help's words are another command's, so they complete like that one.
        const Resolved first = resolve(line, 1);
        if (first.match.failure == Match::Failure::none && first.match.states.size() == 1 &&
            first.match.states[0].command == 0)
            return complete(head.substr(line.words[0].column + line.words[0].length));
    }
    return complete_word(line, count, partial);
}

CommandTable::CommandTable() : impl_(std::make_unique<Impl>()) {
    // Must stay the first entry: complete() knows it by that.
    add({"help [<WORDS:rest>]", Access::read, "Lists the commands, or those that begin with WORDS.",
         [impl = impl_.get()](const Args& args) { return impl->help(args); }});
}

CommandTable::~CommandTable() = default;

Result<> CommandTable::try_add(Command command) {
    SLUICE_TRY(Grammar grammar, Grammar::parse(command.grammar));
    if (!command.handler) return fail(EINVAL, "grammar '{}': no handler", command.grammar);
    for (const auto& entry : impl_->entries)
        if (entry->command.grammar == command.grammar)
            return fail(EEXIST, "grammar '{}': there is such a command already", command.grammar);
    auto methods = grammar.methods();
    impl_->entries.push_back(std::make_unique<Entry>(
        Entry{std::move(command), std::move(grammar), std::move(methods)}));
    return {};
}

void CommandTable::add(Command command) {
    if (auto added = try_add(std::move(command)); !added) {
        std::fprintf(stderr, "sluice: internal error: %s\n", added.error().message.c_str());
        std::abort();
    }
}

void CommandTable::set_completer(std::string variable, Completer completer) {
    impl_->completers[std::move(variable)] = std::move(completer);
}

CommandResult<Value> CommandTable::run(std::string_view text, Access allowed) {
    if (text.size() > kLineBytesMax)
        return tl::unexpected(
            error_of(CommandError::kInvalidParams, E2BIG,
                     fmt::format("the line has {} bytes; at most {} are possible", text.size(),
                                 kLineBytesMax)));
    Line line = split_line(text);
    if (line.words.empty()) return Value();
    if (line.unterminated) {
        const Word& word = line.words.back();
        CommandError error = error_of(CommandError::kInvalidParams, EINVAL, "");
        error.column = word.column;
        error.expected = {"a closing \""};
        error.message =
            point_at(line.text, word.column, word.length) +
            "\nthe quoted word has no end; expected: a closing \"";
        return tl::unexpected(std::move(error));
    }
    const std::size_t count = line.words.size();
    const Resolved resolved = impl_->resolve(std::move(line), count);
    const MatchState* state = resolved.match.accepted();
    if (resolved.match.failure != Match::Failure::none || state == nullptr)
        return tl::unexpected(impl_->syntax_error(resolved));
    return impl_->invoke(*impl_->entries[state->command], state->args.args(), allowed);
}

Result<Value> CommandTable::execute(std::string_view line, Access allowed) {
    auto result = run(line, allowed);
    if (!result) return fail(Error{result.error().code, std::move(result.error().message)});
    return std::move(*result);
}

CommandResult<Value> CommandTable::call(std::string_view method, const Value& params,
                                        Access allowed) {
    std::vector<const Atom*> chosen;
    CommandError error;
    bool known = false;
    // Several commands may share a method and differ in their params: the first that fits is it.
    for (std::size_t i = 0; i < impl_->entries.size(); ++i) {
        const Entry& entry = *impl_->entries[i];
        if (!match_method(entry.grammar, method, chosen)) continue;
        auto args = bind_params(entry.grammar, chosen, params);
        if (args) return impl_->invoke(entry, *args, allowed);
        if (!known) error = std::move(args.error());
        known = true;
    }
    if (known) return tl::unexpected(std::move(error));
    error = error_of(CommandError::kMethodNotFound, ENOSYS,
                     fmt::format("there is no method '{}'; 'commands' lists them all",
                                 one_line(method.substr(0, 80))));
    const std::string_view verb = method.substr(0, method.find('.'));
    for (const auto& entry : impl_->entries)
        for (const std::string& candidate : entry->methods)
            if (candidate.substr(0, candidate.find('.')) == verb)
                add_once(error.expected, candidate);
    return tl::unexpected(std::move(error));
}

std::vector<std::string> CommandTable::complete(std::string_view line, std::size_t cursor) const {
    if (line.size() > kLineBytesMax) return {};
    return impl_->complete(line.substr(0, std::min(cursor, line.size())));
}

Value CommandTable::describe() const {
    Value list = Value::array();
    for (const auto& entry : impl_->entries) {
        Value params = Value::array();
        for (const Grammar::Param& param : entry->grammar.params())
            params.push_back(
                {{"name", param.name}, {"type", param.type}, {"required", param.required}});
        Value row = Value::object();
        row["command"] = entry->command.grammar;
        row["access"] = entry->command.access == Access::read ? "read" : "write";
        row["help"] = entry->command.help;
        row["methods"] = entry->methods;
        row["params"] = std::move(params);
        list.push_back(std::move(row));
    }
    return list;
}

}  // namespace sluice::control
