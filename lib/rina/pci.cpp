#include "rina/pci.hpp"

namespace sluice::rina {

namespace {

constexpr bool is_width(std::uint8_t width) noexcept {
    return width == 1 || width == 2 || width == 4 || width == 8;
}

// The width is looked at once and not for each field: these are written for every few data PDUs.
// Each field is loaded by itself: an array would go through memory, and what is stored to it in one
// piece and loaded in others waits for the store.
template <typename T>
ControlPdu read_fields(const std::byte* at) noexcept {
    const auto field = [at](std::size_t i) { return detail::load<T>(at + i * sizeof(T)); };
    return {field(0), field(1), field(2), field(3), field(4), field(5)};
}

template <typename T>
void write_fields(const ControlPdu& control, std::byte* at) noexcept {
    const T fields[PciFormat::kControlFields] = {
        static_cast<T>(control.last_control_received), static_cast<T>(control.ack),
        static_cast<T>(control.new_rwe),               static_cast<T>(control.new_lwe),
        static_cast<T>(control.my_lwe),                static_cast<T>(control.my_rwe)};
    std::memcpy(at, fields, sizeof fields);
}

}  // namespace

Result<> check(const PciFormat& format) {
    struct Field {
        const char* name;
        std::uint8_t width;
    };
    const Field fields[] = {{"sequence numbers", format.sequence},
                            {"addresses", format.address},
                            {"CEP-ids", format.cep},
                            {"the PDU length", format.length},
                            {"QoS-ids", format.qos}};
    for (const Field& field : fields)
        if (!is_width(field.width))
            return fail(EINVAL, "PCI format: {} of {} bytes; expected 1, 2, 4 or 8", field.name,
                        field.width);
    // A CEP-id that lost its upper half would name another connection.
    if (format.cep > sizeof(CepId::rep))
        return fail(EINVAL, "PCI format: CEP-ids of {} bytes; expected at most {}", format.cep,
                    sizeof(CepId::rep));
    return {};
}

ControlPdu parse_control(std::span<const std::byte> pdu, const PciFormat& format) noexcept {
    if (format == kDefaultFormat) [[likely]]
        return read_fields<std::uint32_t>(pdu.data() + kDefaultFormat.bytes());
    const std::byte* const at = pdu.data() + format.bytes();
    switch (format.sequence) {
        case 1: return read_fields<std::uint8_t>(at);
        case 2: return read_fields<std::uint16_t>(at);
        case 4: return read_fields<std::uint32_t>(at);
        default: return read_fields<std::uint64_t>(at);
    }
}

void write_control(const ControlPdu& control, const PciFormat& format, std::byte* to) noexcept {
    std::byte* const at = to + format.bytes();
    switch (format.sequence) {
        case 1: return write_fields<std::uint8_t>(control, at);
        case 2: return write_fields<std::uint16_t>(control, at);
        case 4: return write_fields<std::uint32_t>(control, at);
        default: return write_fields<std::uint64_t>(control, at);
    }
}

}  // namespace sluice::rina
