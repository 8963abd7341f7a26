#include "capture/bpf_code.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

namespace sluice::capture {
namespace {

// Instruction codes of bpf(4), part by part.
enum : std::uint16_t {
    kLd = 0x00, kLdx = 0x01, kSt = 0x02, kStx = 0x03, kAlu = 0x04, kJmp = 0x05, kRet = 0x06,
    kMisc = 0x07,
    kW = 0x00, kH = 0x08, kB = 0x10,
    kImm = 0x00, kAbs = 0x20, kInd = 0x40, kMem = 0x60, kLen = 0x80, kMsh = 0xa0,
    kAdd = 0x00, kSub = 0x10, kMul = 0x20, kDiv = 0x30, kOr = 0x40, kAnd = 0x50, kLsh = 0x60,
    kRsh = 0x70, kNeg = 0x80, kMod = 0x90, kXor = 0xa0,
    kJa = 0x00, kJeq = 0x10, kJgt = 0x20, kJge = 0x30, kJset = 0x40,
    kK = 0x00, kX = 0x08, kA = 0x10,
    kTax = 0x00, kTxa = 0x80,
};
constexpr unsigned kWords = 16;  // of scratch memory
constexpr std::size_t kInstructionsMax = 65536;
constexpr std::uint32_t kMshMax = 4 * 15;
constexpr std::uint32_t kFar = 0x7fffffff;  // no packet is as long

constexpr std::uint16_t class_of(std::uint16_t code) { return code & 0x07; }
constexpr std::uint16_t size_of(std::uint16_t code) { return code & 0x18; }
constexpr std::uint16_t mode_of(std::uint16_t code) { return code & 0xe0; }
constexpr std::uint16_t operation_of(std::uint16_t code) { return code & 0xf0; }
constexpr bool takes_x(std::uint16_t code) { return (code & kX) != 0; }
constexpr std::uint32_t bytes_of(std::uint16_t code) {
    return size_of(code) == kW ? 4 : size_of(code) == kH ? 2 : 1;
}

// Code for x86-64. The packet is in rdi, its length on the wire in esi and that of what is there
// in rdx; A is eax, X ecx, the scratch memory lies in the red zone below the stack. Registers are
// only written in 32 bits, so that their upper halves stay zero.
class Assembler {
  public:
    explicit Assembler(std::span<const BpfInstruction> program) : program_(program) {}

    // Empty if there is an instruction that libpcap would not make.
    std::vector<std::uint8_t> assemble() {
        put({0x31, 0xc0, 0x31, 0xc9, 0x89, 0xd2});  // eax = ecx = 0, rdx = edx
        if (std::any_of(program_.begin(), program_.end(), [](const BpfInstruction& i) {
                return class_of(i.code) <= kLdx && mode_of(i.code) == kMem;
            }))
            for (unsigned word = 0; word < kWords; ++word) {
                put({0x89, 0x44, 0x24, scratch(word)});
            }
        for (at_ = 0; at_ < program_.size(); ++at_) {
            places_.push_back(code_.size());
            if (!instruction(program_[at_])) return {};
        }
        if (program_.empty() || class_of(program_.back().code) != kRet) return {};
        places_.push_back(code_.size());  // where those go that read too far
        put({0x31, 0xc0, 0xc3});
        for (const Jump& jump : jumps_) {
            if (jump.to >= places_.size()) return {};
            const auto distance = static_cast<std::uint32_t>(places_[jump.to] - jump.place - 4);
            std::memcpy(&code_[jump.place], &distance, sizeof distance);
        }
        return std::move(code_);
    }

  private:
    // Jumps always have 32 bits: their length does not depend on where they go.
    struct Jump {
        std::size_t place;
        std::size_t to;
    };
    enum Condition : std::uint8_t {
        kBelow = 0x82, kNotBelow = 0x83, kEqual = 0x84, kNotEqual = 0x85, kNotAbove = 0x86,
        kAbove = 0x87,
    };
    static constexpr Condition opposite(Condition c) { return static_cast<Condition>(c ^ 1); }

    void put(std::initializer_list<std::uint8_t> bytes) {
        code_.insert(code_.end(), bytes.begin(), bytes.end());
    }
    void put32(std::uint32_t v) {
        for (unsigned shift = 0; shift < 32; shift += 8)
            code_.push_back(static_cast<std::uint8_t>(v >> shift));
    }
    void address(std::size_t to) {
        jumps_.push_back({code_.size(), to});
        put32(0);
    }
    void jump(std::size_t to) {
        put({0xe9});
        address(to);
    }
    void jump_if(Condition c, std::size_t to) {
        put({0x0f, c});
        address(to);
    }
    std::size_t failure() const { return program_.size(); }
    static std::uint8_t scratch(std::uint32_t word) {
        return static_cast<std::uint8_t>(-4 * static_cast<int>(kWords - word));
    }

    bool instruction(const BpfInstruction& i) {
        switch (class_of(i.code)) {
            case kLd: return load(i);
            case kLdx: return load_x(i);
            case kSt: case kStx:
                if (i.k >= kWords || (i.code != kSt && i.code != kStx)) return false;
                put({0x89, i.code == kSt ? std::uint8_t{0x44} : std::uint8_t{0x4c}, 0x24,
                     scratch(i.k)});
                return true;
            case kAlu: return takes_x(i.code) ? alu_x(i) : alu_k(i);
            case kJmp: return branch(i);
            case kRet:
                if (i.code == (kRet | kK)) {
                    put({0xb8});  // mov eax, k
                    put32(i.k);
                } else if (i.code != (kRet | kA)) {
                    return false;
                }
                put({0xc3});
                return true;
            default:
                if (i.code == (kMisc | kTax)) put({0x89, 0xc1});
                else if (i.code == (kMisc | kTxa)) put({0x89, 0xc8});
                else return false;
                return true;
        }
    }

    // False, and a jump, where no packet is as long.
    bool has(std::uint32_t k, std::uint32_t bytes) {
        if (k > kFar - bytes) {
            jump(failure());
            return false;
        }
        put({0x81, 0xfa});  // cmp edx, k + bytes
        put32(k + bytes);
        jump_if(kBelow, failure());
        return true;
    }

    bool load(const BpfInstruction& i) {
        switch (mode_of(i.code)) {
            case kImm:
                put({0xb8});
                put32(i.k);
                return i.code == (kLd | kImm | kW);
            case kMem:
                put({0x8b, 0x44, 0x24, scratch(i.k)});
                return i.code == (kLd | kMem | kW) && i.k < kWords;
            case kLen: put({0x89, 0xf0}); return i.code == (kLd | kLen | kW);
            case kAbs:
                if (size_of(i.code) == 0x18) return false;
                if (has(i.k, bytes_of(i.code))) {
                    fetch(i.code, {0x87});  // [rdi + k]
                    put32(i.k);
                    to_host(i.code);
                }
                return true;
            case kInd: return size_of(i.code) != 0x18 && load_indirect(i);
            default: return false;
        }
    }

    bool load_indirect(const BpfInstruction& i) {
        const std::uint32_t bytes = bytes_of(i.code);
        if (i.k > kFar - bytes) {
            jump(failure());
            return true;
        }
        put({0x4c, 0x8d, 0x81});  // lea r8, [rcx + k + bytes]: in 64 bits, that nothing comes round
        put32(i.k + bytes);
        put({0x49, 0x39, 0xd0});  // cmp r8, rdx
        jump_if(kAbove, failure());
        fetch(i.code, {0x84, 0x0f});  // [rdi + rcx + k]
        put32(i.k);
        to_host(i.code);
        return true;
    }

    // mov or movzx to eax; the address follows.
    void fetch(std::uint16_t code, std::initializer_list<std::uint8_t> operand) {
        if (size_of(code) == kW) put({0x8b});
        else if (size_of(code) == kH) put({0x0f, 0xb7});
        else put({0x0f, 0xb6});
        put(operand);
    }
    void to_host(std::uint16_t code) {
        if (size_of(code) == kW) put({0x0f, 0xc8});              // bswap eax
        else if (size_of(code) == kH) put({0x66, 0xc1, 0xc0, 0x08});  // rol ax, 8
    }

    bool load_x(const BpfInstruction& i) {
        switch (i.code) {
            case kLdx | kImm | kW:
                put({0xb9});
                put32(i.k);
                return true;
            case kLdx | kMem | kW: put({0x8b, 0x4c, 0x24, scratch(i.k)}); return i.k < kWords;
            case kLdx | kLen | kW: put({0x89, 0xf1}); return true;
            case kLdx | kMsh | kB:
                if (has(i.k, 1)) {
                    put({0x0f, 0xb6, 0x8f});  // movzx ecx, byte [rdi + k]
                    put32(i.k);
                    put({0x83, 0xe1, 0x0f, 0xc1, 0xe1, 0x02});  // and ecx, 15; shl ecx, 2
                }
                return true;
            default: return false;
        }
    }

    void divide(bool remainder) {  // eax by r8d
        put({0x41, 0x89, 0xd1, 0x31, 0xd2, 0x41, 0xf7, 0xf0});  // r9d = edx; edx = 0; div r8d
        if (remainder) put({0x89, 0xd0});
        put({0x44, 0x89, 0xca});  // edx = r9d
    }

    bool alu_k(const BpfInstruction& i) {
        const auto with_k = [this, &i](std::initializer_list<std::uint8_t> operation) {
            put(operation);
            put32(i.k);
            return true;
        };
        switch (operation_of(i.code)) {
            case kAdd: return with_k({0x05});
            case kSub: return with_k({0x2d});
            case kOr: return with_k({0x0d});
            case kAnd: return with_k({0x25});
            case kXor: return with_k({0x35});
            case kMul: return with_k({0x69, 0xc0});
            case kDiv: case kMod:
                if (i.k == 0) return false;
                with_k({0x41, 0xb8});  // mov r8d, k
                divide(operation_of(i.code) == kMod);
                return true;
            case kLsh: case kRsh:
                if (i.k >= 32) put({0x31, 0xc0});
                else put({0xc1, operation_of(i.code) == kLsh ? std::uint8_t{0xe0}
                                                             : std::uint8_t{0xe8},
                          static_cast<std::uint8_t>(i.k)});
                return true;
            case kNeg: put({0xf7, 0xd8}); return true;
            default: return false;
        }
    }

    bool alu_x(const BpfInstruction& i) {
        switch (operation_of(i.code)) {
            case kAdd: put({0x01, 0xc8}); return true;
            case kSub: put({0x29, 0xc8}); return true;
            case kOr: put({0x09, 0xc8}); return true;
            case kAnd: put({0x21, 0xc8}); return true;
            case kXor: put({0x31, 0xc8}); return true;
            case kMul: put({0x0f, 0xaf, 0xc1}); return true;
            case kDiv: case kMod:
                put({0x85, 0xc9});  // test ecx, ecx
                jump_if(kEqual, failure());
                put({0x41, 0x89, 0xc8});  // mov r8d, ecx
                divide(operation_of(i.code) == kMod);
                return true;
            case kLsh: case kRsh:
                put({0xd3, operation_of(i.code) == kLsh ? std::uint8_t{0xe0} : std::uint8_t{0xe8},
                     0x83, 0xf9, 0x1f,    // cmp ecx, 31
                     0x76, 0x02,          // jbe over what follows
                     0x31, 0xc0});
                return true;
            default: return false;
        }
    }

    bool branch(const BpfInstruction& i) {
        if (i.code == (kJmp | kJa)) {
            if (i.k >= program_.size() - at_ - 1) return false;
            jump(at_ + 1 + i.k);
            return true;
        }
        const std::size_t yes = at_ + 1 + i.jump_true, no = at_ + 1 + i.jump_false;
        if (yes >= program_.size() || no >= program_.size()) return false;
        const bool tests = operation_of(i.code) == kJset;
        if (takes_x(i.code)) {
            put({tests ? std::uint8_t{0x85} : std::uint8_t{0x39}, 0xc8});
        } else {
            put({tests ? std::uint8_t{0xa9} : std::uint8_t{0x3d}});
            put32(i.k);
        }
        Condition when;
        switch (operation_of(i.code)) {
            case kJeq: when = kEqual; break;
            case kJgt: when = kAbove; break;
            case kJge: when = kNotBelow; break;
            case kJset: when = kNotEqual; break;
            default: return false;
        }
        if (yes == at_ + 1) {
            if (no != yes) jump_if(opposite(when), no);
            return true;
        }
        jump_if(when, yes);
        if (no != at_ + 1) jump(no);
        return true;
    }

    std::span<const BpfInstruction> program_;
    std::size_t at_ = 0;
    std::vector<std::uint8_t> code_;
    std::vector<std::size_t> places_;
    std::vector<Jump> jumps_;
};

}  // namespace

std::optional<std::uint32_t> bpf_reach(std::span<const BpfInstruction> program) {
    bool index_is_small = true;  // set by nothing but LDX MSH
    bool indirect = false;
    std::uint64_t reach = 0;
    for (const BpfInstruction& i : program) {
        const std::uint16_t kind = class_of(i.code), mode = mode_of(i.code);
        if (kind == kLd && (mode == kAbs || mode == kInd)) {
            indirect |= mode == kInd;
            reach = std::max(reach, std::uint64_t{i.k} + bytes_of(i.code) +
                                        (mode == kInd ? kMshMax : 0));
        } else if (kind == kLdx && mode == kMsh) {
            reach = std::max(reach, std::uint64_t{i.k} + 1);
        } else if (kind == kLdx || (kind == kMisc && i.code == (kMisc | kTax))) {
            index_is_small = false;
        }
    }
    if ((indirect && !index_is_small) || reach > kFar) return std::nullopt;
    return static_cast<std::uint32_t>(reach);
}

BpfCode BpfCode::make(std::span<const BpfInstruction> program) {
    BpfCode made;
#if defined(__x86_64__)
    if (program.size() > kInstructionsMax) return made;
    const std::vector<std::uint8_t> code = Assembler(program).assemble();
    if (code.empty()) return made;
    void* memory = ::mmap(nullptr, code.size(), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return made;
    std::memcpy(memory, code.data(), code.size());
    if (::mprotect(memory, code.size(), PROT_READ | PROT_EXEC) != 0) {
        ::munmap(memory, code.size());
        return made;
    }
    made.memory_ = memory;
    made.size_ = code.size();
#else
    static_cast<void>(program);
#endif
    return made;
}

BpfCode::~BpfCode() {
    if (memory_ != nullptr) ::munmap(memory_, size_);
}

BpfCode::BpfCode(BpfCode&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), size_(std::exchange(other.size_, 0)) {}

BpfCode& BpfCode::operator=(BpfCode&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(size_, other.size_);
    return *this;
}

}  // namespace sluice::capture
