#include "normal_dif/core/efcp/control_pdu.hpp"

namespace sluice::efcp {

void write(const ControlItem& item, const rina::PciFormat& format, std::byte* to) noexcept {
    rina::write(item.pci, format, to);
    if (!rina::is_control(item.pci.type)) return;
    rina::write_control(item.fields, format, to);
    if (!has_sack(item.pci.type)) return;
    std::byte* at = to + format.control_bytes();
    for (const SackBlock& block : item.sack) {
        rina::detail::store_width(at, format.sequence, block.first);
        rina::detail::store_width(at + format.sequence, format.sequence, block.last);
        at += 2 * format.sequence;
    }
}

std::optional<Bounded<SackBlock, kSackBlocksMax>> parse_sack(
    std::span<const std::byte> pdu, const rina::PciFormat& format) noexcept {
    const std::size_t pair = std::size_t{2} * format.sequence;
    const std::size_t bytes = pdu.size() - format.control_bytes();
    if (bytes % pair != 0 || bytes / pair > kSackBlocksMax) return std::nullopt;
    Bounded<SackBlock, kSackBlocksMax> blocks;
    const std::byte* at = pdu.data() + format.control_bytes();
    for (std::size_t i = 0; i < bytes / pair; ++i, at += pair)
        blocks.add({rina::detail::load_width(at, format.sequence),
                    rina::detail::load_width(at + format.sequence, format.sequence)});
    return blocks;
}

}  // namespace sluice::efcp
