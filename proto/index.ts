/** The generated messages and service of `datastream.proto`. */
export * from "./gen/datastream_pb.ts";
