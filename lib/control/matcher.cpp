#include "control/matcher.hpp"

#include <algorithm>

namespace sluice::control {
namespace {

enum class Quality : unsigned char { none, prefix, variable, exact };

struct Candidate {
    Quality quality = Quality::none;
    const Atom* atom = nullptr;
    std::string_view text;
};

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// A literal in full, else the variable if the word fits it, else the literals it abbreviates.
std::vector<Candidate> candidates(const Choice& choice, const Word& word, std::string_view rest) {
    if (!word.quoted)
        if (const Atom* literal = choice.literal(word.text))
            return {{Quality::exact, literal, literal->text}};
    if (const Atom* variable = choice.variable()) {
        const std::string_view text =
            variable->type == VariableType::rest ? rest : std::string_view(word.text);
        if (ArgsBuilder::fits(variable->type, text)) return {{Quality::variable, variable, text}};
    }
    std::vector<Candidate> result;
    if (word.quoted || word.text.empty()) return result;
    for (const Atom& atom : choice.atoms)
        if (!atom.is_variable && atom.text.starts_with(word.text))
            result.push_back({Quality::prefix, &atom, atom.text});
    return result;
}

struct Step {
    Branch branch;
    Candidate candidate;
};

MatchState take(Step step) {
    MatchState state = std::move(step.branch.after);
    const Candidate& candidate = step.candidate;
    if (candidate.atom->is_variable)
        state.args.variable(*candidate.atom, candidate.text);
    else
        state.args.literal(*candidate.atom);
    if (step.branch.positional) state.args.word(candidate.text);
    return state;
}

bool took_rest(const std::vector<Step>& steps) noexcept {
    return !steps.empty() && steps[0].candidate.atom->is_variable &&
           steps[0].candidate.atom->type == VariableType::rest;
}

// What a variable of type rest gets: the raw text, or the word alone if it is all there is.
std::string_view rest_from(const Line& line, std::size_t index) {
    if (index + 1 == line.words.size()) return line.words[index].text;
    std::string_view rest = line.text.substr(line.words[index].column);
    while (!rest.empty() && is_space(rest.back())) rest.remove_suffix(1);
    return rest;
}

}  // namespace

Line split_line(std::string_view text) {
    Line line{text, {}, false};
    std::size_t at = 0;
    while (at < text.size()) {
        if (is_space(text[at])) {
            ++at;
            continue;
        }
        if (text[at] == '#') {
            line.text = text.substr(0, at);
            break;
        }
        Word word;
        word.column = at;
        bool inside = false;
        for (; at < text.size() && (inside || !is_space(text[at])); ++at) {
            const char c = text[at];
            if (c == '"') {
                inside = !inside;
                word.quoted = true;
            } else if (inside && c == '\\' && at + 1 < text.size() &&
                       (text[at + 1] == '"' || text[at + 1] == '\\')) {
                word.text += text[++at];
            } else {
                word.text += c;
            }
        }
        line.unterminated = inside;
        word.length = at - word.column;
        line.words.push_back(std::move(word));
    }
    return line;
}

bool MatchState::accepts() const noexcept {
    if (group >= 0) return false;
    for (std::size_t i = element; i < grammar->elements.size(); ++i)
        if (!grammar->elements[i].optional()) return false;
    return true;
}

std::vector<Branch> branches(const MatchState& state) {
    std::vector<Branch> result;
    const auto& elements = state.grammar->elements;
    const auto inside_group = [&](MatchState after, std::size_t index, std::size_t pos) {
        const Group& group = elements[after.element].groups[index];
        const bool done = pos + 1 == group.choices.size();
        after.group = done ? -1 : static_cast<int>(index);
        after.group_pos = done ? 0 : pos + 1;
        after.used |= std::uint64_t{1} << index;
        result.push_back({&group.choices[pos], std::move(after), false});
    };
    if (state.group >= 0) {
        inside_group(state, static_cast<std::size_t>(state.group), state.group_pos);
        return result;
    }
    // Optional elements may be passed over; the first mandatory one ends the search.
    for (std::size_t i = state.element; i < elements.size(); ++i) {
        MatchState here = state;
        here.element = i;
        if (i != state.element) here.used = 0;
        if (!elements[i].optional()) {
            here.element = i + 1;
            here.used = 0;
            result.push_back({&elements[i].choice, std::move(here), true});
            break;
        }
        for (std::size_t k = 0; k < elements[i].groups.size(); ++k)
            if ((here.used >> k & 1) == 0) inside_group(here, k, 0);
    }
    return result;
}

const MatchState* Match::accepted() const noexcept {
    for (const MatchState& state : states)
        if (state.accepts()) return &state;
    return nullptr;
}

std::vector<const Atom*> Match::expected() const {
    std::vector<const Atom*> result;
    for (const MatchState& state : states)
        for (const Branch& branch : branches(state))
            for (const Atom& atom : branch.choice->atoms) result.push_back(&atom);
    return result;
}

Match match_words(std::vector<MatchState> start, const Line& line, std::size_t count) {
    Match match;
    match.states = std::move(start);
    for (std::size_t i = 0; i < count; ++i) {
        std::vector<Step> best;
        Quality quality = Quality::prefix;
        bool any = false;
        const std::string_view rest = rest_from(line, i);
        for (const MatchState& state : match.states) {
            for (Branch& branch : branches(state)) {
                any = true;
                for (const Candidate& candidate :
                     candidates(*branch.choice, line.words[i], rest)) {
                    if (candidate.quality < quality) continue;
                    if (candidate.quality > quality) best.clear();
                    quality = candidate.quality;
                    best.push_back({branch, candidate});
                }
            }
        }
        if (best.empty()) {
            match.failure = any ? Match::Failure::unknown : Match::Failure::excess;
            match.word = i;
            return match;
        }
        if (quality == Quality::prefix)
            for (const Step& step : best)
                add_once(match.candidates, std::string(step.candidate.text));
        if (match.candidates.size() > 1) {
            match.failure = Match::Failure::ambiguous;
            match.word = i;
            return match;
        }
        match.candidates.clear();
        const bool finished = took_rest(best);
        match.states.clear();
        for (Step& step : best) match.states.push_back(take(std::move(step)));
        if (finished) break;
    }
    return match;
}

void add_once(std::vector<std::string>& to, std::string item) {
    if (std::find(to.begin(), to.end(), item) == to.end()) to.push_back(std::move(item));
}

std::string join_or(const std::vector<std::string>& items) {
    std::string result;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) result += i + 1 == items.size() ? " or " : ", ";
        result += items[i];
    }
    return result;
}

std::string point_at(std::string_view line, std::size_t column, std::size_t length) {
    constexpr std::size_t kBefore = 60;
    constexpr std::size_t kShown = 120;
    std::string shown;
    std::string caret;
    const auto is_continuation = [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    };
    std::size_t begin = column > kShown - 20 ? column - kBefore : 0;
    while (begin > 0 && begin < line.size() && is_continuation(line[begin])) --begin;
    if (begin > 0) shown = caret = "... ";
    caret = std::string(caret.size(), ' ');
    std::size_t end = std::min(line.size(), begin + kShown);
    while (end < line.size() && is_continuation(line[end])) ++end;
    for (std::size_t i = begin; i < end; ++i) {
        const auto byte = static_cast<unsigned char>(line[i]);
        shown += byte < 0x20 || byte == 0x7f ? (byte == '\t' ? '\t' : '?') : line[i];
        // One column a character, not a byte; tabs stay tabs so that both lines stay aligned.
        if (i < column && !is_continuation(line[i])) caret += line[i] == '\t' ? '\t' : ' ';
    }
    if (end < line.size()) shown += " ...";
    for (std::size_t i = end; i < column; ++i) caret += ' ';
    caret += '^';
    for (std::size_t i = column + 1; i < std::min(column + length, end); ++i)
        if (!is_continuation(line[i])) caret += '~';
    return shown + "\n" + caret;
}

std::string one_line(std::string_view text) {
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    std::string result;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n')
            result += "; ";
        else
            result += byte < 0x20 || byte == 0x7f ? (c == '\t' ? ' ' : '?') : c;
    }
    return result;
}

}  // namespace sluice::control
