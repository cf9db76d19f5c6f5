/** What happens in a pipeline, for whoever counts. Every member is called on the main thread and must not throw. */
export interface PipelineObserver {
  /** A request went to the gateway; `again`: not the first of its epoch. */
  requested?(again: boolean): void;
  /** A message of so many items arrived, so many bytes as it came. */
  received?(items: number, bytes: number): void;
  /** A message of so many items was made of cached ones. */
  cached?(items: number): void;
  /** Items of a batch did not fit their hashes: it is asked for again. */
  refetched?(): void;
  /** A batch waited so many seconds for a free slot. */
  waitedForSlot?(seconds: number): void;
  /** A batch was hashed and decoded into its slot within so many seconds. */
  decoded?(seconds: number): void;
  /** A batch was made visible to the consumer's device within so many seconds. */
  published?(seconds: number): void;
  /** Items that cannot be decoded, whatever becomes of them. */
  undecodable?(items: number): void;
  /** A batch went to the consumer; bytes of its items as they came. */
  delivered?(items: number, bytes: number): void;
}
