/** The gateway with a mail service that keeps what it is given, for a test to fetch from `/post-office`. */
import gateway, { DatasetJob, ProofLedger, StreamSession } from "../../functions/gateway.ts";

export { DatasetJob, ProofLedger, StreamSession };

type Fetch = NonNullable<(typeof gateway)["fetch"]>;

const mails: unknown[] = [];
let broken = false;
const MAIL = {
  send: async (mail: { text: string }): Promise<{ messageId: string }> => {
    if (broken) throw new Error(`refused: ${mail.text}`);
    mails.push(mail);
    return { messageId: `${mails.length}` };
  },
};

const withMail: typeof gateway = {
  ...gateway,
  fetch(...[request, env, context]: Parameters<Fetch>): ReturnType<Fetch> {
    const { pathname, search } = new URL(request.url);
    if (pathname !== "/post-office") return gateway.fetch(request, { ...env, MAIL }, context);
    broken = search === "?broken";
    return Response.json(mails.splice(0));
  },
};
export default withMail;
