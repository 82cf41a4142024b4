// Damaged and hostile files: found, or harmless. Run with EVERGLADE_SANITIZE these tests also show that nothing is read
// or written outside.

#include <cstring>

#include "check.hpp"
#include "corpus.hpp"
#include "everglade/format.hpp"
#include "everglade/segment.hpp"
#include "hostile.hpp"

using corpus::at;
using corpus::Corpus;
using everglade::Segment;
using everglade::Verify;
using hostile::celled_segment;
using hostile::opens;
using hostile::sealed;
using hostile::section_of;
using hostile::small_corpus;
using hostile::written;
namespace format = everglade::format;

namespace {

/// A segment without any feature.
const std::string& small_segment() {
    static const std::string bytes = written(small_corpus());
    return bytes;
}

/// Wide, reordered, pruned, and with weights.
const std::string& rich_segment() {
    static const std::string bytes = [] {
        Corpus made = small_corpus();
        std::mt19937 random(4);
        made.wide = true;
        made.shuffle(random);
        made.prune();
        made.weigh();
        return written(made);
    }();
    return bytes;
}

/// Reordered and without rows.
const std::string& bare_segment() {
    static const std::string bytes = [] {
        Corpus made = small_corpus();
        std::mt19937 random(5);
        made.shuffle(random);
        made.rows = false;
        return written(made);
    }();
    return bytes;
}

/// A wide vocabulary, whose rows are read in another way.
const std::string& wordy_segment() {
    static const std::string bytes = [] {
        Corpus made = small_corpus();
        made.n_terms = 70'000;
        made.weigh();
        return written(made);
    }();
    return bytes;
}

const std::string& (*const kKinds[])() = {small_segment, rich_segment, bare_segment, wordy_segment, celled_segment};

}  // namespace

TEST(an_undamaged_file_opens) {
    for (const auto kind : kKinds) {
        CHECK(sealed(kind()) == kind());
        CHECK(opens(kind(), Verify::everything));
        CHECK(opens(kind(), Verify::structure));
    }
}

TEST(every_flipped_bit_is_found) {
    for (const auto kind : kKinds) {
        std::string bytes = kind();
        for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
            bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
            CHECK(!opens(bytes, Verify::everything));
            bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
        }
    }
}

TEST(every_other_length_is_found) {
    const std::string good = small_segment();
    for (std::size_t length = 0; length < good.size(); ++length) {
        CHECK(!opens(good.substr(0, length), Verify::everything));
        CHECK(!opens(good.substr(0, length), Verify::structure));
    }
    CHECK(!opens(good + '\0', Verify::structure));
    CHECK(!opens(sealed(good + '\0'), Verify::structure));
}

TEST(hostile_bytes_under_right_checksums_are_harmless) {
    for (const auto kind : kKinds) {
        for (std::size_t place = 0; place < kind().size(); ++place) {
            for (const int value : {0, 1, 0x7F, 0x80, 0xFF}) {
                std::string bytes = kind();
                bytes[place] = static_cast<char>(value);
                opens(sealed(bytes), Verify::everything);
                opens(sealed(bytes), Verify::structure);
            }
        }
    }
}

TEST(hostile_words_under_right_checksums_are_harmless) {
    for (const auto kind : kKinds) {
        for (std::size_t place = 0; place + 8 <= kind().size(); place += 4) {
            for (const std::uint64_t value : {std::uint64_t{1} << 63, ~std::uint64_t{0}, std::uint64_t{1} << 32,
                                              std::uint64_t{1} << 61, std::uint64_t{kind().size()}, std::uint64_t{0}}) {
                std::string bytes = kind();
                std::memcpy(bytes.data() + place, &value, sizeof value);
                opens(sealed(bytes), Verify::everything);
                opens(sealed(bytes), Verify::structure);
            }
        }
    }
}

TEST(random_damage_under_right_checksums_is_harmless) {
    std::mt19937 random(11);
    for (const auto kind : kKinds) {
        for (int round = 0; round < 2000; ++round) {
            std::string bytes = kind();
            // The sections, not the head, which is nearly always refused at once.
            const std::size_t first = 512;
            for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
                bytes[first + random() % (bytes.size() - first)] = static_cast<char>(random());
            }
            opens(sealed(bytes), Verify::everything);
            opens(sealed(bytes), Verify::structure);
        }
    }
}

TEST(broken_rules_under_right_checksums_are_found) {
    const std::string good = small_segment();
    const auto section = [&good](format::Kind kind) { return section_of(good, kind); };
    const auto found_at = [&](std::uint64_t place, auto value) {
        std::string bytes = good;
        std::memcpy(bytes.data() + place, &value, sizeof value);
        return !opens(sealed(bytes), Verify::everything);
    };
    using format::Kind;
    CHECK(found_at(section(Kind::terms).offset, std::uint32_t{4}));                    // not ascending
    CHECK(found_at(section(Kind::terms).offset + 8, std::uint32_t{50}));               // beyond the vocabulary
    CHECK(found_at(section(Kind::term_blocks).offset + 8, std::uint64_t{0}));          // a term without blocks
    CHECK(found_at(section(Kind::block_windows).offset, std::uint16_t{1}));            // beyond the documents
    CHECK(found_at(section(Kind::block_postings).offset + 8, std::uint64_t{0}));       // an empty block
    CHECK(found_at(section(Kind::block_bounds).offset, std::uint8_t{0}));              // too low: would hide documents
    CHECK(found_at(section(Kind::block_bounds).offset, std::uint8_t{255}));            // too high
    CHECK(found_at(section(Kind::posting_documents).offset, std::uint16_t{3}));        // twice the same document
    CHECK(found_at(section(Kind::posting_documents).offset + 26, std::uint16_t{40}));  // beyond the documents
    CHECK(found_at(section(Kind::posting_impacts).offset, std::uint8_t{0}));
    CHECK(found_at(section(Kind::document_rows).offset, std::uint64_t{1}));  // does not begin with 0
    CHECK(found_at(section(Kind::document_rows).offset + 8, std::uint64_t{1} << 40));
    CHECK(found_at(section(Kind::row_terms).offset, std::uint16_t{4}));
    CHECK(found_at(section(Kind::row_terms).offset + 4, std::uint16_t{50}));
    CHECK(found_at(section(Kind::row_impacts).offset, std::uint8_t{0}));
    CHECK(found_at(section(Kind::document_ids).offset + 8, std::uint64_t{17}));
    CHECK(found_at(section(Kind::id_bytes).offset + 7, '9'));        // ids not ascending
    CHECK(found_at(section(Kind::id_bytes).offset, '\xFF'));         // not UTF-8
    CHECK(found_at(section(Kind::id_bytes).offset - 1, 'x'));        // hidden between sections
    CHECK(found_at(format::head_length(12) - 8, std::uint32_t{1}));  // zero in the seal
    CHECK(found_at(offsetof(format::Header, n_documents), std::uint32_t{39}));
    CHECK(found_at(offsetof(format::Header, n_postings), ~std::uint64_t{0}));
    CHECK(found_at(offsetof(format::Header, n_terms), std::uint32_t{5}));
    CHECK(found_at(offsetof(format::Header, n_sections), std::uint32_t{11}));
    for (const std::uint32_t features : {1u, 2u, 8u, 16u, 1u << 31})
        CHECK(found_at(offsetof(format::Header, features), features));
    CHECK(found_at(sizeof(format::Header) + 11 * sizeof(format::Section), std::uint32_t{13}));  // one that is not due
    CHECK(found_at(sizeof(format::Header) + 11 * sizeof(format::Section), std::uint32_t{11}));  // twice the same
    CHECK(found_at(offsetof(format::Header, major), std::uint16_t{0}));
    CHECK(found_at(offsetof(format::Header, major), std::uint16_t{2}));
}

TEST(broken_rules_of_features_under_right_checksums_are_found) {
    const std::string good = rich_segment();
    const auto found_at = [&](format::Kind kind, std::size_t at, std::uint16_t value) {
        std::string bytes = good;
        std::memcpy(bytes.data() + section_of(good, kind).offset + at, &value, sizeof value);
        return !opens(sealed(bytes), Verify::everything);
    };
    using format::Kind;
    CHECK(!found_at(Kind::row_weights, 0, 0x7BFF));  // the greatest finite weight
    CHECK(found_at(Kind::row_weights, 0, 0x7C00));   // infinite
    CHECK(found_at(Kind::row_weights, 0, 0x7E00));   // not a number
    CHECK(found_at(Kind::row_weights, 0, 0x8000));   // negative zero
    CHECK(found_at(Kind::ranks, 0, 40));             // beyond the documents
    CHECK(found_at(Kind::by_rank, 4, 40));
    CHECK(found_at(Kind::posting_impacts, 0, 0));
    CHECK(found_at(Kind::row_impacts, 0, 0));
    CHECK(found_at(Kind::block_bounds, 0, 0x7FFF));
    for (const auto kind : {Kind::ranks, Kind::by_rank}) {  // twice the same
        std::string bytes = good;
        const std::size_t place = section_of(good, kind).offset;
        std::memcpy(bytes.data() + place, good.data() + place + 4, 4);
        CHECK(!opens(sealed(bytes), Verify::everything));
        CHECK(opens(sealed(bytes), Verify::structure));
    }
    std::string swapped = good;  // a permutation and its inverse, but not in the order of ids
    const auto ranks = section_of(good, Kind::ranks).offset;
    const auto by_rank = section_of(good, Kind::by_rank).offset;
    std::uint32_t first, second;
    std::memcpy(&first, good.data() + by_rank, 4);
    std::memcpy(&second, good.data() + by_rank + 4, 4);
    std::memcpy(swapped.data() + by_rank, &second, 4);
    std::memcpy(swapped.data() + by_rank + 4, &first, 4);
    std::memcpy(swapped.data() + ranks + 4 * first, good.data() + ranks + 4 * second, 4);
    std::memcpy(swapped.data() + ranks + 4 * second, good.data() + ranks + 4 * first, 4);
    CHECK(!opens(sealed(swapped), Verify::everything));
    std::string lossy = bare_segment();
    const std::uint32_t features = format::kReordered | format::kPruned | format::kWithoutRows;
    std::memcpy(lossy.data() + offsetof(format::Header, features), &features, sizeof features);
    CHECK(!opens(sealed(lossy), Verify::structure));
}

TEST(a_newer_minor_version_with_a_section_more_is_read) {
    const std::string good = small_segment();
    // Move the sections down by one table entry where that does not change their padding, and add section 16.
    constexpr std::uint32_t kOld = 12;
    const std::uint64_t old_length = format::head_length(kOld);
    const std::uint64_t new_length = format::head_length(kOld + 1);
    const std::uint64_t shift = format::align(new_length) - format::align(old_length);
    std::string bytes(format::align(new_length), '\0');
    std::memcpy(bytes.data(), good.data(), sizeof(format::Header));
    const std::uint16_t minor = format::kMinor + 1;
    const std::uint32_t n_sections = kOld + 1;
    std::memcpy(bytes.data() + offsetof(format::Header, minor), &minor, sizeof minor);
    std::memcpy(bytes.data() + offsetof(format::Header, n_sections), &n_sections, sizeof n_sections);
    const std::uint64_t end = format::align(good.size() + shift);
    for (std::uint32_t i = 0; i <= kOld; ++i) {
        format::Section section{static_cast<format::Kind>(format::kKnownKinds + 1), 0, end, 5};
        if (i < kOld) {
            std::memcpy(&section, good.data() + sizeof(format::Header) + i * sizeof section, sizeof section);
            section.offset += shift;
        }
        std::memcpy(bytes.data() + sizeof(format::Header) + i * sizeof section, &section, sizeof section);
    }
    bytes += good.substr(format::align(old_length));
    bytes.resize(end);
    bytes += "extra";
    CHECK(opens(sealed(bytes), Verify::everything));
    bytes.back() = 'A';
    std::string damaged = sealed(bytes);
    damaged.back() = 'a';
    CHECK(!opens(damaged, Verify::everything));
}
