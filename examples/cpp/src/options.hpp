#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

/** What the program was asked for. Secrets come from the environment, where other users do not see them. */
struct Options {
    std::string gateway = "http://127.0.0.1:8787";
    /** HOST:PORT of the companion's one port. */
    std::string companion = "127.0.0.1:50052";
    /** Empty: the datasets are listed, and nothing is streamed. */
    std::string dataset;
    int32_t batch_size = 64;
    /** BLAKE3 of the manifest in hexadecimal, known from elsewhere; empty: the gateway is believed. */
    std::string content_hash;
    bool shuffle = false;
    /** CYXCLOUD_API_KEY */
    std::string api_key;
    /** CYXCLOUD_TOKEN; empty: one is made with the API key. */
    std::string token;
};

/** @throws std::invalid_argument naming what is wrong. */
Options parse_options(int argc, char** argv);

extern const char* const USAGE;
