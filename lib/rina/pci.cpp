#include "rina/pci.hpp"

namespace sluice::rina {

namespace {

constexpr bool is_width(std::uint8_t width) noexcept {
    return width == 1 || width == 2 || width == 4 || width == 8;
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
    const std::byte* const at = pdu.data() + format.bytes();
    const unsigned width = format.sequence;
    const auto field = [=](unsigned n) noexcept {
        return detail::load_width(at + n * width, width);
    };
    ControlPdu control;
    control.last_control_received = field(0);
    control.ack = field(1);
    control.new_rwe = field(2);
    control.new_lwe = field(3);
    control.my_lwe = field(4);
    control.my_rwe = field(5);
    return control;
}

void write_control(const ControlPdu& control, const PciFormat& format, std::byte* to) noexcept {
    std::byte* const at = to + format.bytes();
    const unsigned width = format.sequence;
    const auto put = [=](unsigned n, std::uint64_t v) noexcept {
        detail::store_width(at + n * width, width, v);
    };
    put(0, control.last_control_received);
    put(1, control.ack);
    put(2, control.new_rwe);
    put(3, control.new_lwe);
    put(4, control.my_lwe);
    put(5, control.my_rwe);
}

}  // namespace sluice::rina
